"""A pack: files under a signed index, as one ZIP file whose bytes depend on nothing but them and the key."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baton.evidence import proofs, verifier
from baton.keys import public_pem, signing_key
from baton.record import anchor
from baton.record.checkpoint import KEY, Checkpoint

_IMPORT = re.compile(r"^from baton\.evidence\.proofs import (\([^)]*\)|.*)\n", re.MULTILINE)
_FUTURE = "from __future__ import annotations\n"
_SIGNED = ("manifest.json", "manifest.sig")
# of no pack
NEVER = {
    "who read what": "reading is not recorded, but for `baton sql --personal`",
    "completeness": "a proof shows that an entry is in the ledger, not that the pack has all about its subject; who may read the "
    "ledger compares with `baton ledger show`",
    "truth": "that what was recorded is so; a signature shows who said it, and a proof that it was not changed since",
    "time": "entries carry the clock of the installation; only a witness adds another one's",
}


@dataclass
class Dossier:
    """What is said of an asset.

    Attributes:
        about: `model:<name>@<version>`, `flow:<dag_id>`, `decision:<flow>@<partition>#<digest of the entity>`.
        files: content by name.
        from_ledger: (file of JSON lines with a `subject`, kind of entry, fields that must be as the entry says).
        asserted: what the files say that nothing in the pack proves.
        missing: what a full pack would have -> why it is not there.
    """

    about: str
    files: dict[str, bytes] = field(default_factory=dict)
    from_ledger: list[tuple[str, str, Sequence[str]]] = field(default_factory=list)
    asserted: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def source() -> str:
    """The verifier as the one file that it is to an auditor."""
    inner = Path(proofs.__file__).read_text(encoding="utf-8").replace(_FUTURE, "")
    text, count = _IMPORT.subn(lambda _: inner, Path(verifier.__file__).read_text(encoding="utf-8"))
    assert count == 1
    return text


def written(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return "".join(f"{json.dumps(row, sort_keys=True, ensure_ascii=False)}\n" for row in rows).encode()


def document(value: Any) -> bytes:
    """A value as JSON for people."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def signed(folder: Path, name: str) -> dict[str, bytes]:
    """What was signed of a version, as files of a pack below `name`."""
    return {f"{name}/{one}": (folder / one).read_bytes() for one in _SIGNED}


def keys(keys_dir: Path | None) -> bytes:
    """The file keys.json: the key of checkpoints and packs, and with a folder that of models."""
    found = {KEY: public_pem(signing_key(anchor.folder(), KEY).public_key()).decode()}
    return document(found | ({"models": (keys_dir / "signing.pub").read_text(encoding="ascii")} if keys_dir else {}))


def seal(given: Dossier, at: Checkpoint) -> bytes:
    """Sign the index over all files, and return the pack.

    Args:
        at: the checkpoint that the proofs among the files lead to.
    """
    files = given.files | {"missing.json": document(given.missing), "verify.py": source().encode()}
    names = sorted(files)
    predicate = {
        "about": given.about,
        "ledger": {"size": at.size, "root": at.root.hex()},
        "from_ledger": given.from_ledger,
        "asserted": given.asserted,
        "not_covered": [f"{what}: {why}" for what, why in sorted(given.missing.items())],
    }
    statement = {
        "_type": verifier.STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": hashlib.sha256(files[name]).hexdigest()}} for name in names],
        "predicateType": verifier.PREDICATE,
        "predicate": predicate,
    }
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    key = signing_key(anchor.folder(), KEY)
    signature = key.sign(verifier.to_sign(payload))
    files[verifier.INDEX] = verifier.envelope(payload, key.public_key().public_bytes_raw(), signature)
    return verifier.archive(files)
