"""Members of a zip file, unpacked within limits on what is really there, not on what the zip says."""

import io
import zipfile
import zlib
from dataclasses import dataclass

from baton_packs.customer_experience.reading.text.limits import (
    BOMB,
    DAMAGED,
    ENCRYPTED,
    LIMITS,
    UNKNOWN_TYPE,
    ReadingLimits,
)

_RATIO = 100  # unpacked to packed; text reaches about 20
_OFFICE = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF", "AndroidManifest.xml")
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Unpacked:
    """Members as name and bytes; a problem when nothing may be read of the file; notes without content."""

    members: tuple[tuple[str, bytes], ...] = ()
    problem: str | None = None
    notes: tuple[str, ...] = ()


def unpack(data: bytes, limits: ReadingLimits = LIMITS) -> Unpacked:
    """Unpack a zip file into memory. A document that is a zip inside (office formats) is of unknown type."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _members(archive, len(data), limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, OverflowError) as error:
        return Unpacked(problem=DAMAGED, notes=(f"zip cannot be read: {type(error).__name__}",))
    except RuntimeError:  # how zipfile says that a password is needed
        return Unpacked(problem=ENCRYPTED)


def _members(archive: zipfile.ZipFile, size: int, limits: ReadingLimits) -> Unpacked:
    infos = [one for one in archive.infolist() if not one.is_dir()]
    if any(one.filename in _OFFICE for one in infos[:50]):
        return Unpacked(problem=UNKNOWN_TYPE)
    if any(one.flag_bits & 1 for one in infos):
        return Unpacked(problem=ENCRYPTED)
    declared = sum(one.file_size for one in infos)
    if len(infos) > limits.zip_members or declared > limits.zip_bytes or declared > _RATIO * size:
        return Unpacked(problem=BOMB, notes=(f"zip of {len(infos)} members, {declared:,} bytes unpacked",))
    members, left = [], min(limits.zip_bytes, _RATIO * size)
    for one in infos:
        content = bytearray()
        with archive.open(one) as stream:
            while block := stream.read(_BLOCK):
                content += block
                if len(content) > left:
                    return Unpacked(problem=BOMB, notes=("zip holds more than it declares",))
        left -= len(content)
        members.append((one.filename, bytes(content)))
    return Unpacked(tuple(members))
