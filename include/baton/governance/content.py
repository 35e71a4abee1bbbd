"""What the file of an asset says: its digest, the content that is in force by the ledger, and what differs between two.

In force is what was recorded last, with who agreed; the ledger alone says which. A file that is not there any more says `GONE`,
which is a content like another. The texts are kept beside the ledger, so that people are shown what changes; one that has not its
digest any more is not shown.
"""

import glob
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
from baton.settings import SINGLE, settings
from baton.specs.governance import AssetKind

Named = tuple[str, AssetKind, str]  # pack, kind, name
ACTIVATED = "asset_activated"
KINDS: tuple[AssetKind, ...] = ("contract", "prompt", "agent", "rules")  # whose file has to be agreed to
GOVERNANCE = FILE.removesuffix(".yaml")  # as `rules:PACK/governance`: who answers for what is a change like others
CODE = "*"  # as the name of rules: all that the code of a pack may read
NOT_ASKED = ("budgets", "retention")  # tables that no stage is stopped by: a raised budget is asked about by itself
PROMPTS = "prompts"

LINES, LONG = 40, 400  # places of a difference that are shown, and characters of each
_COMPARED = 4_000  # lines; longer texts are not compared line by line
# a word of so many characters may be a key; a shorter one, or a sentence, is what people have to see
_SECRET = re.compile(
    r"(?i)((?:passw|secret|token|api[_-]?key|private[_-]?key|credential)[\w-]*[\"']?\s*[:=]\s*)[\"']?[^\s\"']{16,}[\"']?(?=\s|$)"
)
_LOGIN = re.compile(r"(://)[^\s/@]+@")
_TWO_YAML = (".yaml", ".yml")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class FileContent:
    """What a file says: `digest` is over what counts of it, `text` is the file's."""

    digest: str
    text: str


GONE = FileContent("0" * 64, "")  # no text has this digest


@dataclass(frozen=True)
class InForce:
    """A content that was recorded: the number of its ledger entry, when, how, and who agreed."""

    digest: str
    entry: int
    at: str
    how: str
    by: tuple[str, ...] = ()


ABSENT = InForce(GONE.digest, 0, "", "nothing of this name was ever agreed to")


def id_of(asset: Named) -> str:
    """What requests and the ledger call it."""
    pack, kind, name = asset
    return asset_id(kind, name, pack)


def of_id(asset: str) -> Named | None:
    """The other way; None: it is the id of no file of an installed pack."""
    word, _, rest = asset.partition(":")
    pack, slash, name = rest.partition("/")
    kind = next((one for one in KINDS if one == word), None)
    return (pack, kind, name) if kind and slash and name and pack in packs() else None


def file_of(one: Named) -> Path:
    """The file of an asset of an installed pack.

    Raises:
        SpecError: no file is asked about for this kind, the pack or the file is not there, or two files have the name.
    """
    if path := _place(one, pack_folder(one[0])):
        return path
    raise SpecError(f"{id_of(one)}: its file is not there")


def _place(one: Named, folder: Path) -> Path | None:
    pack, kind, name = one
    asset = id_of(one)
    if kind not in KINDS:
        raise SpecError(f"{asset}: is no file of its own; changes are asked for of {', '.join(KINDS)}")
    if kind == "contract":
        found = [folder / "contracts" / f"{name}.yaml"]
    elif kind == "rules":
        found = [folder / f"{name}{suffix}" for suffix in _TWO_YAML]
    elif kind == "agent":
        found = [folder / PROMPTS / f"{name}.md"]
    else:
        found = [path for path in sorted((folder / PROMPTS).glob(f"{glob.escape(name)}.*")) if path.stem == name]
        if [path.suffix for path in found] == [".md"]:
            raise SpecError(f"{asset}: its file is an agent's: name it as {asset_id('agent', name, pack)}")
        found = [path for path in found if path.suffix != ".md"]
    there = [path for path in found if ".." not in path.parts and path.is_file()]
    if len(there) > 1:
        raise SpecError(f"{asset}: {' and '.join(path.name for path in there)} have the name: rename one")
    return there[0] if there else None


def now_of(one: Named) -> FileContent:
    """What the file of an asset says now; `GONE` where there is none. Raises SpecError: it cannot be read, or two have the name."""
    path = _place(one, pack_folder(one[0]))
    return read(path) if path is not None else GONE


def named(pack: str) -> list[Named]:
    """All files of a pack that people agree to, its governance.yaml among them where it has one."""
    return in_folder(pack, pack_folder(pack))


def in_folder(pack: str, folder: Path) -> list[Named]:
    """As `named`, of a pack that need not be installed."""
    contracts = [path.stem for path in (folder / "contracts").glob("*.yaml")]
    rules = inventory(folder, (), contracts, (), ())
    governance = [GOVERNANCE] if (folder / FILE).is_file() else []
    found: list[Named] = [(pack, "contract", name) for name in rules["contract"]]
    found += [(pack, "rules", name) for name in [*governance, *rules["rules"]]]
    prompts = [path for path in sorted((folder / PROMPTS).glob("*.*")) if not path.name.startswith(".")]
    return found + [(pack, "agent" if path.suffix == ".md" else "prompt", path.stem) for path in prompts]


def unreadable(pack: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Prompts and rules of a folder that nobody could agree to, so that each stage that works by them stops: which, and why.

    Contracts and the tables that the engine reads are checked by whoever reads them.
    """
    for one in dict.fromkeys(in_folder(pack, folder)):
        if one[1] != "agent" and not by_code(one):
            continue
        path = folder / (PROMPTS if one[1] != "rules" else "") / one[2]
        try:
            found = _place(one, folder)
            path = path if found is None else found
            if found is not None:
                read(found)
        except SpecError as error:
            yield path, str(error).removeprefix(f"{path}: ")


def read_by_code(pack: str) -> list[Named]:
    """What a function of a pack may read, which nobody can tell from outside: its rules, and prompts that are no agent's.

    It stands for all of them, those that the ledger has in force and the folder has no more included: see `settled_names`.
    """
    return [(pack, "rules", CODE)]


def by_code(one: Named) -> bool:
    """Whether it is among what a function of its pack may read."""
    return one[1] == "prompt" or (one[1] == "rules" and one[2] not in (*TABLES, GOVERNANCE))


def on_disk(wanted: Collection[Named]) -> list[Named]:
    """Each asset by its own name: instead of `read_by_code` what the folders have now."""
    found = [
        each
        for one in wanted
        for each in ([one] if one[2] != CODE else [each for each in named(one[0]) if by_code(each)])
    ]
    return list(dict.fromkeys(found))


def trained_by(model: str) -> Named:
    """The contract of what a model learns from."""
    pack, spec = find_model(model)
    return pack.name, "contract", spec.training.contract


def table_of(pack: str, name: str) -> list[Named]:
    """A table of rules that the engine reads itself; a pack that never had it declares nothing, and is asked about nothing."""
    return [(pack, "rules", name)]


def owned(path: Path) -> Named:
    """Which asset the file of a prompt is. Raises SpecError: it lies in no pack's folder `prompts`, so nobody answers for it."""
    folder = path.resolve().parent
    pack = next((one for one in packs() if (pack_folder(one) / PROMPTS).resolve() == folder), None)
    if pack is None:
        raise SpecError(
            f"{path}: a prompt lies in the folder prompts of a pack that runs: else nobody is asked about a change"
        )
    return pack, "agent" if path.suffix == ".md" else "prompt", path.stem


def read(path: Path) -> FileContent:
    """The content of a file as it is now. Raises SpecError: it cannot be read."""
    try:
        return told(path, path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read, so nobody can agree to it: {error}") from error


def told(path: Path, content: bytes) -> FileContent:
    """As `read`, of bytes that were read from there: whoever parsed these asks about these. Raises SpecError: they are no text."""
    whole = path.suffix not in _TWO_YAML or path.parent.name == PROMPTS  # a model is told a prompt's comments too
    try:
        text = content.decode()
        return FileContent(_digest(text, whole), text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: cannot be read, so nobody can agree to it: {error}") from error


@lru_cache(maxsize=1024)
def _digest(text: str, whole: bool) -> str:
    """By the text itself, which is read each time: a time and a size are not a content."""
    return hashlib.sha256((text if whole else json.dumps(list(_parts(text)))).encode()).hexdigest()


def _parts(text: str) -> Iterator[list[Any]]:
    """A YAML text without comments and layout, whatever a reader makes of its values: `yes` is not `true`."""
    for event in yaml.parse(text, Loader=_Loader):
        told = [type(event).__name__, *(getattr(event, name, None) for name in ("anchor", "tag", "value"))]
        yield [*told, list(getattr(event, "implicit", None) or ())] if isinstance(event, yaml.ScalarEvent) else told


def in_force(conn: Connection, assets: Collection[str], code_of: Collection[str] = ()) -> dict[str, InForce]:
    """What is in force of these assets, by the newest entry of each; one that was never recorded is left out.

    Args:
        code_of: packs; all rules and prompts that were ever recorded of them are among the answers.
    """
    c = tables.ledger.c
    prefixes = tuple(f"{kind}:{pack}/" for pack in code_of for kind in ("rules", "prompt"))
    which = sa.or_(c.subject.in_(assets), *(c.subject.startswith(one, autoescape=True) for one in prefixes))
    newest = sa.select(sa.func.max(c.seq)).where(c.kind == ACTIVATED, which).group_by(c.subject)
    rows = conn.execute(sa.select(c.subject, c.seq, c.at, c.payload).where(c.seq.in_(newest.scalar_subquery())))
    found = {}
    for row in rows:
        if row.subject in assets or row.subject.startswith(prefixes):  # LIKE takes Shop for shop on SQLite
            said = json.loads(row.payload)
            found[row.subject] = InForce(said["digest"], row.seq, row.at, said["how"], tuple(said["by"]))
    return found


def settled_names(conn: Connection, wanted: Collection[Named]) -> dict[Named, InForce | None]:
    """Each asset by its own name, with what is in force of it; None: it may be used as it is, from now on.

    Of what a pack's code may read also what was recorded and is not there any more. Once any of that was recorded of a pack, a
    name that is new is a change: `ABSENT` is in force of it.
    """
    names = on_disk(wanted)
    code_of = {one[0] for one in wanted if one[2] == CODE or by_code(one)}
    known = in_force(conn, {id_of(one) for one in names}, code_of)
    recorded = [one for one in map(of_id, known) if one is not None and by_code(one)]
    asked = {one[0] for one in wanted if one[2] == CODE}
    names += [one for one in recorded if one[0] in asked and one not in names]
    closed = {one[0] for one in recorded}
    return {one: known.get(id_of(one), ABSENT if by_code(one) and one[0] in closed else None) for one in names}


def governance_agreed(conn: Connection, pack: str) -> bool:
    """Whether the governance.yaml of a pack is in force: people agreed to what it says, or nothing was ever recorded of it.

    Raises:
        SpecError: it cannot be read.
    """
    one: Named = (pack, "rules", GOVERNANCE)
    now, known = now_of(one), in_force(conn, [id_of(one)]).get(id_of(one))
    return known is None or known.digest == now.digest or settings().governance == SINGLE


def require_governance(conn: Connection, pack: str) -> None:
    """Raises SpecError: the pack's governance.yaml says what nobody agreed to, and so names nobody."""
    if not governance_agreed(conn, pack):
        asset = id_of((pack, "rules", GOVERNANCE))
        raise SpecError(
            f"{FILE} of {pack} says what nobody agreed to, so nobody answers for what it names: `baton change ask {asset}`, or bring "
            "the file back"
        )


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
    if now.digest == GONE.digest:
        new["file"] = "is gone: it was deleted or has another name"
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
    if before is None or before.digest == GONE.digest:
        return "" if before is not None else None
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
    text = "\n".join(map(_masked, lines))
    return text if len(text) <= LONG else f"{text[:LONG]} ... ({len(text) - LONG} more characters)"


def _masked(line: str) -> str:
    """A line without what may be a secret; its digest shows that it changed all the same."""
    found = _LOGIN.sub(r"\1***@", _SECRET.sub(r"\1***", line))
    return line if found == line else f"{found} (SHA-256 of the line {hashlib.sha256(line.encode()).hexdigest()[:16]})"
