"""The assets of the packs, and what `governance.yaml` says of each: who answers, who may use it, how many have to agree.

    model:card_fraud   flow:transaction_monitoring          names that one installation has once
    contract:financial_crime/decisions   prompt: agent: rules: source: effect:   of a pack; alone where one pack has it

An asset that nobody answers for may not be used: a pack without governance.yaml, or one that says nothing of it, is refused.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from baton.errors import SpecError
from baton.packs.pack import Pack, find_model, load_pack, packs
from baton.packs.spec_file import did_you_mean, read_marked
from baton.specs.governance import ASSET_KINDS, AssetKind, AssetTerms

FILE = "governance.yaml"
ALONE: tuple[AssetKind, ...] = ("model", "flow")  # kinds whose names one installation has once
_READ = ("models", "contracts", "prompts")  # folders whose YAML is no table of rules
TABLES = ("actions", "budgets", "retention", "tools")  # that the engine reads itself


@dataclass(frozen=True)
class Asset:
    """One asset of a pack, with what holds for it."""

    kind: AssetKind
    name: str
    pack: str
    terms: AssetTerms

    @property
    def id(self) -> str:
        """What requests, grants and the ledger call it."""
        return asset_id(self.kind, self.name, self.pack)


def asset_id(kind: AssetKind, name: str, pack: str) -> str:
    """`model:card_fraud`, `contract:financial_crime/decisions`."""
    return f"{kind}:{name}" if kind in ALONE else f"{kind}:{pack}/{name}"


def inventory(
    folder: Path, models: Iterable[str], contracts: Iterable[str], sources: Iterable[str], effects: Iterable[str]
) -> dict[AssetKind, list[str]]:
    """Names of what a pack's folder has, by kind, sorted; flows are files elsewhere, and not among them.

    Args:
        effects: the actions that it declares.
    """
    prompts = sorted((folder / "prompts").glob("*.*"))
    tables = [name for name in TABLES if (folder / f"{name}.yaml").is_file()]
    files = [path.relative_to(folder) for path in _files(folder) if path.suffix in (".yaml", ".yml")]
    tables += [path.with_suffix("").as_posix() for path in files if len(path.parts) > 1 and path.parts[0] not in _READ]
    found: dict[AssetKind, Iterable[str]] = {
        "model": models, "contract": contracts, "source": sources, "effect": effects,
        "prompt": [path.stem for path in prompts], "agent": [path.stem for path in prompts if path.suffix == ".md"],
        "rules": tables,
    }  # fmt: skip
    return {kind: sorted(set(names)) for kind, names in found.items()}


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files of a folder and below, through links too: whoever reads by a glob follows them."""
    here = os.path.realpath(folder)
    if here in above or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(folder / entry.name, (*above, here))
            else:
                yield folder / entry.name


def in_pack(pack: Pack) -> dict[AssetKind, list[str]]:
    """As `inventory`, of a pack that was read, with the flows that its governance.yaml names."""
    effects = pack.actions.actions if pack.actions else ()
    flows = sorted(pack.governance.flow) if pack.governance else []
    return {**inventory(pack.folder, pack.models, pack.contracts, pack.sources, effects), "flow": flows}


def every() -> list[Asset]:
    """All assets of the packs that run, by pack, kind and name; those that nobody answers for are left out."""
    return [
        Asset(kind, name, pack.name, terms)
        for pack in map(load_pack, packs())
        for kind, names in in_pack(pack).items()
        for name in names
        if pack.governance and (terms := pack.governance.terms(kind, name)) is not None
    ]


def find(asset: str) -> Asset:
    """The asset of that id; `contract:decisions` does where one pack alone has it.

    Raises:
        SpecError: there is none, or several, or nobody answers for it; says what to write, and where.
    """
    kind, pack, name = _parts(asset)
    if kind == "model":  # a broken pack elsewhere does not matter
        owner, _ = find_model(name)
        return Asset(kind, name, owner.name, terms_of(owner, kind, name))
    owners = [one for one in map(load_pack, [pack] if pack else packs()) if name in in_pack(one)[kind]]
    if len(owners) > 1:
        ids = ", ".join(asset_id(kind, name, one.name) for one in owners)
        raise SpecError(f"{asset}: {' and '.join(one.name for one in owners)} have one. Name it as {ids}.")
    if not owners:
        known = sorted({one for other in map(load_pack, [pack] if pack else packs()) for one in in_pack(other)[kind]})
        where = f"; a flow is named in the {FILE} of its pack" if kind == "flow" else ""
        raise SpecError(
            f"{asset}: no pack has it{did_you_mean(name, known)} There are: {', '.join(known) or 'none'}{where}."
        )
    return Asset(kind, name, owners[0].name, terms_of(owners[0], kind, name))


def answered(wanted: Collection[str]) -> dict[str, tuple[str, AssetTerms]]:
    """The pack of each of these full ids, and what holds for it, reading each pack once; what `find` would refuse is missing.

    A pack that cannot be read has none, and takes nothing from those of others.
    """
    found: dict[str, list[tuple[str, AssetTerms | None]]] = {one: [] for one in wanted}
    parts = {one: _parts(one) for one in wanted if one.partition(":")[0] in ASSET_KINDS}
    for name in packs() if any(not of for _, of, _ in parts.values()) else {of for _, of, _ in parts.values()}:
        try:
            pack = load_pack(name)
        except SpecError:
            continue
        names = in_pack(pack)
        for one, (kind, of, asset) in parts.items():
            if of in ("", name) and asset in names[kind]:
                found[one].append((name, pack.governance.terms(kind, asset) if pack.governance else None))
    alone = {one: there[0] for one, there in found.items() if len(there) == 1}
    return {one: (pack, terms) for one, (pack, terms) in alone.items() if terms is not None}


def terms_of(pack: Pack, kind: AssetKind, name: str) -> AssetTerms:
    """What holds for an asset of a pack. Raises SpecError: nobody answers for it."""
    if pack.governance is None:
        raise SpecError(
            f"{pack.folder / FILE}: is not there, so nobody answers for {kind}:{name}: write it with at least `default`"
        )
    terms = pack.governance.terms(kind, name)
    if terms is None:
        raise SpecError(
            f"{pack.folder / FILE}: says nothing of {kind}:{name}, and has no `default`: name it below `{kind}`"
        )
    return terms


def votes_needed(asset: str) -> int:
    """How many people have to agree to a change of an asset: 1 of low impact, else 2, or 2 of low impact too where its pack says so.

    Raises:
        SpecError: there is no such asset, or nobody answers for it.
    """
    return find(asset).terms.votes


def place(asset: Asset, field: str) -> str:
    """`<file>:<line>` where a field of an asset is written, or where its entry would have to have it."""
    path = load_pack(asset.pack).folder / FILE
    marked, _ = read_marked(path)
    spots = [(asset.kind, asset.name, field), (asset.kind, asset.name), ("default", field), ("default",)]
    return f"{path}:{next((marked.lines[spot] for spot in spots if spot in marked.lines), 1)}"


def _parts(asset: str) -> tuple[AssetKind, str, str]:
    """Kind, pack (empty where it is not said) and name."""
    word, _, rest = asset.partition(":")
    kind = next((one for one in ASSET_KINDS if one == word), None)
    if kind is None or not rest:
        raise SpecError(f"asset {asset!r}: write KIND:NAME, or KIND:PACK/NAME; kinds are {', '.join(ASSET_KINDS)}")
    pack, slash, name = rest.partition("/")
    return (kind, pack, name) if slash and kind not in ALONE and pack in packs() else (kind, "", rest)
