"""What the file of an asset says: its digest, the content that is in force by the ledger, and what differs between two.

In force is what was recorded last, with who agreed; the ledger alone says which. The texts are kept beside it, so that people
are shown what changes; one that has not its digest any more is not shown.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.engine import Connection

from baton.errors import SpecError
from baton.governance.assets import FILE, TABLES, asset_id, inventory
from baton.packs.pack import find_model, pack_folder, packs
from baton.record import ledger, tables, warehouse
from baton.specs.governance import AssetKind

Named = tuple[str, AssetKind, str]  # pack, kind, name
ACTIVATED = "asset_activated"
KINDS: tuple[AssetKind, ...] = ("contract", "prompt", "agent", "rules")  # whose file has to be agreed to
GOVERNANCE = FILE.removesuffix(".yaml")  # as `rules:PACK/governance`: who answers for what is a change like others

LINES, LONG = 40, 400  # places of a difference that are shown, and characters of each
_COMPARED = 4_000  # lines; longer texts are not compared line by line
_SECRET = re.compile(r"(?i)((?:passw|secret|token|api[_-]?key|private[_-]?key|credential)[\w-]*[\"']?\s*[:=]\s*)\S.*")
_LOGIN = re.compile(r"(://)[^\s/@]+@")
_TWO_YAML = (".yaml", ".yml")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class FileContent:
    """What a file says: `digest` is over what counts of it, `text` is the file's."""

    digest: str
    text: str


@dataclass(frozen=True)
class InForce:
    """A content that was recorded: the number of its ledger entry, when, how, and who agreed."""

    digest: str
    entry: int
    at: str
    how: str
    by: tuple[str, ...] = ()


def id_of(asset: Named) -> str:
    """What requests and the ledger call it."""
    pack, kind, name = asset
    return asset_id(kind, name, pack)


def file_of(one: Named) -> Path:
    """The file of an asset of an installed pack.

    Raises:
        SpecError: no file is asked about for this kind, the pack or the file is not there, or two files have the name.
    """
    pack, kind, name = one
    asset, folder = id_of(one), pack_folder(pack)
    if kind not in KINDS:
        raise SpecError(f"{asset}: is no file of its own; changes are asked for of {', '.join(KINDS)}")
    if kind == "contract":
        found = [folder / "contracts" / f"{name}.yaml"]
    elif kind == "rules":
        found = [folder / f"{name}{suffix}" for suffix in _TWO_YAML]
    elif kind == "agent":
        found = [folder / "prompts" / f"{name}.md"]
    else:
        found = [path for path in sorted((folder / "prompts").glob(f"{name}.*")) if path.stem == name]
        if [path.suffix for path in found] == [".md"]:
            raise SpecError(f"{asset}: its file is an agent's: name it as {asset_id('agent', name, pack)}")
        found = [path for path in found if path.suffix != ".md"]
    there = [path for path in found if ".." not in path.parts and path.is_file()]
    if len(there) != 1:
        said = f"{' and '.join(path.name for path in there)} have the name" if there else "its file is not there"
        raise SpecError(f"{asset}: {said}")
    return there[0]


def named(pack: str) -> list[Named]:
    """All files of a pack that people agree to, its governance.yaml among them where it has one."""
    folder = pack_folder(pack)
    contracts = [path.stem for path in (folder / "contracts").glob("*.yaml")]
    rules = inventory(folder, (), contracts, (), ())
    governance = [GOVERNANCE] if (folder / FILE).is_file() else []
    found: list[Named] = [(pack, "contract", name) for name in rules["contract"]]
    found += [(pack, "rules", name) for name in [*governance, *rules["rules"]]]
    prompts = [path for path in sorted((folder / "prompts").glob("*.*")) if not path.name.startswith(".")]
    return found + [(pack, "agent" if path.suffix == ".md" else "prompt", path.stem) for path in prompts]


def read_by_code(pack: str) -> list[Named]:
    """What a function of a pack may read, which nobody can tell from outside: its rules, and prompts that are no agent's."""
    return [
        one for one in named(pack) if one[1] == "prompt" or (one[1] == "rules" and one[2] not in (*TABLES, GOVERNANCE))
    ]


def trained_by(model: str) -> Named:
    """The contract of what a model learns from."""
    pack, spec = find_model(model)
    return pack.name, "contract", spec.training.contract


def table_of(pack: str, name: str) -> list[Named]:
    """A table of rules that the engine reads itself; nothing where the pack has none."""
    return [(pack, "rules", name)] if (pack_folder(pack) / f"{name}.yaml").is_file() else []


def owned(path: Path) -> Named:
    """Which asset the file of a prompt is. Raises SpecError: it lies in no pack's folder `prompts`, so nobody answers for it."""
    folder = path.resolve().parent
    pack = next((one for one in packs() if (pack_folder(one) / "prompts").resolve() == folder), None)
    if pack is None:
        raise SpecError(
            f"{path}: a prompt lies in the folder prompts of a pack that runs: else nobody is asked about a change"
        )
    return pack, "agent" if path.suffix == ".md" else "prompt", path.stem


def read(path: Path) -> FileContent:
    """The content of a file, read again only when its time or size is another. Raises SpecError: it cannot be read."""
    try:
        about = path.stat()
        return _read(path, about.st_mtime_ns, about.st_size)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: cannot be read, so nobody can agree to it: {error}") from error


@lru_cache(maxsize=1024)
def _read(path: Path, _changed_at: int, _size: int) -> FileContent:
    text = path.read_text(encoding="utf-8")
    counts = json.dumps(list(_parts(text))) if path.suffix in _TWO_YAML else text
    return FileContent(hashlib.sha256(counts.encode()).hexdigest(), text)


def _parts(text: str) -> Iterator[list[Any]]:
    """A YAML text without comments and layout, whatever a reader makes of its values: `yes` is not `true`."""
    for event in yaml.parse(text, Loader=_Loader):
        told = [type(event).__name__, *(getattr(event, name, None) for name in ("anchor", "tag", "value"))]
        yield [*told, list(getattr(event, "implicit", None) or ())] if isinstance(event, yaml.ScalarEvent) else told


def in_force(conn: Connection, assets: Collection[str]) -> dict[str, InForce]:
    """What is in force of these assets, by the newest entry of each; one that was never recorded is left out."""
    c = tables.ledger.c
    newest = sa.select(sa.func.max(c.seq)).where(c.kind == ACTIVATED, c.subject.in_(assets)).group_by(c.subject)
    rows = conn.execute(sa.select(c.subject, c.seq, c.at, c.payload).where(c.seq.in_(newest.scalar_subquery())))
    found = {}
    for row in rows:
        said = json.loads(row.payload)
        found[row.subject] = InForce(said["digest"], row.seq, row.at, said["how"], tuple(said["by"]))
    return found


def put_in_force(
    conn: Connection, asset: str, content: FileContent, before: InForce | None, how: str, by: Collection[str] = (), **told: Any
) -> None:  # fmt: skip
    """Record that a content is in force from now on, with its text.

    Args:
        how: why it is, in words. by: the names of those who agreed.
        told: what else the entry says, JSON.
    """
    table, row = tables.asset_contents, {"digest": content.digest, "content": content.text, "at": warehouse.now()}
    warehouse.upsert(conn, table, [row])  # a text that differs in comments alone takes the place of the one before
    said = {"digest": content.digest, "before": before.digest if before else None, "how": how, "by": list(by), **told}
    ledger.append(conn, ACTIVATED, asset, said)


def difference(conn: Connection, before: InForce | None, now: FileContent) -> tuple[dict[str, str], dict[str, str]]:
    """What differs from the content in force, for people: by place, before and after; values that look secret are not in it."""
    old = {"digest": before.digest if before else ""}
    new = {"digest": now.digest}
    text = _text(conn, before)
    if text is None:
        return old, {**new, "text": "what was in force is not kept, so the difference cannot be shown: read the file"}
    left, right = text.splitlines(), now.text.splitlines()
    if max(len(left), len(right)) > _COMPARED:
        return old, {**new, "text": f"{len(right)} lines, too many to be compared here: read the file"}
    found = [one for one in SequenceMatcher(None, left, right, autojunk=False).get_opcodes() if one[0] != "equal"]
    for _, i1, i2, j1, j2 in found[:LINES]:
        place = f"line {j1 + 1}"
        old[place], new[place] = _shown(left[i1:i2]), _shown(right[j1:j2])
    if len(found) > LINES:
        new["more"] = f"{len(found) - LINES} more places differ: read the file"
    return old, new


def _text(conn: Connection, before: InForce | None) -> str | None:
    if before is None:
        return None
    table = tables.asset_contents.c
    found = conn.execute(sa.select(table.content).where(table.digest == before.digest)).scalar()
    if found is None:
        return None
    text = str(found)
    try:
        known = {text, json.dumps(list(_parts(text)))}
    except yaml.YAMLError:
        known = {text}
    same = before.digest in {hashlib.sha256(one.encode()).hexdigest() for one in known}
    return text if same else None


def _shown(lines: Collection[str]) -> str:
    text = "\n".join(_LOGIN.sub(r"\1***@", _SECRET.sub(r"\1***", line)) for line in lines)
    return text if len(text) <= LONG else f"{text[:LONG]} ... ({len(text) - LONG} more characters)"
