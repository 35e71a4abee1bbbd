"""Packs: the business folders, found through the entry-point group `baton.packs`, whoever installed them.

<pack>/models/<model>.yaml  contracts/<contract>.yaml  sources.yaml  tools.yaml  retention.yaml  actions.yaml
<pack>/budgets.yaml  governance.yaml  steps.py  README.md
"""

from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from baton.errors import SpecError
from baton.packs.spec_file import SpecFile, did_you_mean, raise_for, read_spec
from baton.settings import settings
from baton.specs.actions import ActionsSpec
from baton.specs.budgets import SpendingSpec
from baton.specs.contract import ContractSpec
from baton.specs.governance import GovernanceSpec
from baton.specs.kinds import Kind
from baton.specs.model import ModelSpec
from baton.specs.retention import FlowRetention
from baton.specs.source import Source
from baton.specs.tool import ToolSpec

GROUP = "baton.packs"
ALL = "all"  # what is of all packs together is named so, `rules:all/budgets`: no pack is

SINGLE: tuple[Kind, ...] = (
    "sources",
    "tools",
    "retention",
    "actions",
    "budgets",
    "governance",
)  # a pack has one file of each


@dataclass(frozen=True)
class Pack:
    """Everything that a pack's YAML says, by name."""

    name: str
    package: str
    folder: Path
    models: dict[str, ModelSpec] = field(default_factory=dict)
    contracts: dict[str, ContractSpec] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    tools: dict[str, ToolSpec] = field(default_factory=dict)
    retention: dict[str, FlowRetention] = field(default_factory=dict)
    actions: ActionsSpec | None = None
    governance: GovernanceSpec | None = None
    budgets: dict[str, SpendingSpec] = field(default_factory=dict)

    def contract(self, name: str) -> ContractSpec:
        """The contract of that name. Raises SpecError: there is none; names those that exist."""
        return self._pick("contract", self.contracts, name)

    def source(self, name: str) -> Source:
        """The source of that name. Raises SpecError: there is none; names those that exist."""
        return self._pick("source", self.sources, name)

    def tool(self, name: str) -> ToolSpec:
        """The tool of that name. Raises SpecError: there is none; names those that exist."""
        return self._pick("tool", self.tools, name)

    def _pick(self, kind: str, known: dict[str, Any], name: str) -> Any:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SpecError(f"pack {self.name}: no {kind} `{name}`{hint} There are: {', '.join(known) or 'none'}.")
        return known[name]


def packs() -> list[str]:
    """Names of the packs that run, sorted: all installed ones, unless BATON_PACKS names some.

    Raises:
        SpecError: it names one that is not installed.
    """
    wanted = [name.strip() for name in settings().packs.split(",") if name.strip()]
    for name in wanted:
        if name not in _installed():
            there = ", ".join(sorted(_installed())) or "none"
            raise SpecError(
                f"BATON_PACKS: no pack `{name}` is installed{did_you_mean(name, _installed())} There are: {there}."
            )
    return sorted(set(wanted) or _installed())


def pack_folder(name: str) -> Path:
    """Folder of an installed pack.

    Raises:
        SpecError: no such pack is installed, or its package cannot be imported from a folder.
    """
    point = _installed().get(name)
    if point is None:
        hint = did_you_mean(name, _installed())
        raise SpecError(
            f"no pack `{name}`{hint} Installed: {', '.join(packs()) or 'none'}. A pack is an installed package with an "
            f"entry point in the group {GROUP}, which `baton new pack` writes; one that is not installed: give its folder."
        )
    try:
        folder = Path(str(files(point.value)))
    except ImportError as error:
        raise SpecError(f"pack `{name}`: package {point.value} cannot be imported ({error})") from error
    if not folder.is_dir():
        raise SpecError(f"pack `{name}`: {folder} is no folder; install the pack unzipped")
    return folder


def is_installed(name: str) -> bool:
    """Whether a pack of that name is installed, whichever of them run."""
    return name in _installed()


def package_of(name: str) -> str:
    """Name of the package that an installed pack is."""
    return _installed()[name].value


def find_pack(pack: str | Path) -> tuple[str, Path]:
    """Name and folder of a pack that a person names: by its name when it is installed, or by its folder.

    The folder may be the pack's own or the project around it, as `baton new pack` writes one.

    Raises:
        SpecError: no such pack is installed and there is no such folder, or the folder holds no pack, or several.
    """
    path = Path(pack)
    if str(pack) in _installed() or not path.is_dir():
        return str(pack), pack_folder(str(pack))
    inside = [path] if _holds_parts(path) else [one for one in sorted(path.iterdir()) if _holds_parts(one)]
    if len(inside) != 1:
        several = f" but {', '.join(one.name for one in inside)}: name one" if inside else ""
        raise SpecError(
            f"{path}: is no part of a pack (a folder with models/, contracts/, sources.yaml or actions.yaml){several}"
        )
    folder = inside[0]
    installed = [name for name in packs() if pack_folder(name).resolve() == folder.resolve()]
    return (installed[0] if installed else folder.resolve().name.removeprefix("baton_")), folder


def open_pack(pack: str | Path) -> Pack:
    """Reads a pack by name or folder, see `find_pack`.

    Raises:
        SpecError: there is no such pack, or a file of it is wrong; lists every mistake with file and line.
    """
    name, folder = find_pack(pack)
    return load_pack(name) if name in _installed() else read_pack(name, folder)


def _holds_parts(folder: Path) -> bool:
    return any((folder / part).exists() for part in ("models", "contracts", "sources.yaml", "actions.yaml"))


def load_pack(name: str) -> Pack:
    """Loads an installed pack; files that did not change since are not read again.

    Raises:
        SpecError: there is no such pack, or a file of it is wrong; lists every mistake with file and line.
    """
    folder = pack_folder(name)
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for _, path in spec_paths(folder))
    return _load(name, folder, stamps)


def find_model(name: str) -> tuple[Pack, ModelSpec]:
    """Finds a model by name over all packs; a broken pack elsewhere does not matter.

    Raises:
        SpecError: no pack has the model, or more than one.
    """
    owners = [p for p in packs() if (pack_folder(p) / "models" / f"{name}.yaml").is_file()]
    if len(owners) > 1:
        raise SpecError(f"model `{name}` is in the packs {' and '.join(owners)}; rename one: the registry has one name")
    if not owners:
        known = sorted(path.stem for p in packs() for path in (pack_folder(p) / "models").glob("*.yaml"))
        raise SpecError(f"no model `{name}`{did_you_mean(name, known)} There are: {', '.join(known) or 'none'}.")
    pack = load_pack(owners[0])
    return pack, pack.models[name]


def read_pack(name: str, folder: Path, package: str = "") -> Pack:
    """Reads a pack from a folder, installed or not.

    Raises:
        SpecError: lists every mistake with file, line, field and what is allowed.
    """
    read = read_folder(folder)
    raise_for(problem for file in read for problem in file.problems)
    sources: dict[str, Source] = next((file.spec.root for file in read if file.kind == "sources"), {})
    tools: dict[str, ToolSpec] = next((file.spec.root for file in read if file.kind == "tools"), {})
    retention: dict[str, FlowRetention] = next((file.spec.root for file in read if file.kind == "retention"), {})
    budgets: dict[str, SpendingSpec] = next((file.spec.root for file in read if file.kind == "budgets"), {})
    return Pack(
        name=name,
        package=package,
        folder=folder,
        models={file.spec.model: file.spec for file in read if file.kind == "model"},
        contracts={file.spec.contract: file.spec for file in read if file.kind == "contract"},
        sources={key: source.model_copy(update={"folder": str(folder)}) for key, source in sources.items()},
        tools=tools,
        retention=retention,
        actions=next((file.spec for file in read if file.kind == "actions"), None),
        governance=next((file.spec for file in read if file.kind == "governance"), None),
        budgets=budgets,
    )


def read_folder(folder: Path) -> list[SpecFile]:
    """Reads every YAML file of a pack's folder, with its mistakes; a file is named like what it holds."""
    read = []
    for kind, path in spec_paths(folder):
        file = read_spec(kind, path)
        own_name = path.stem if kind in SINGLE else getattr(file.spec, kind, path.stem)
        if own_name != path.stem:
            wrong = file.problem((kind,), f"`{own_name}` is in the file {path.name}", f"{kind}: {path.stem}")
            file = SpecFile(kind, path, None, file.marked, (*file.problems, wrong))
        read.append(file)
    return read


def spec_paths(folder: Path) -> list[tuple[Kind, Path]]:
    """The YAML files of a pack's folder and what each holds."""
    found: list[tuple[Kind, Path]] = [("model", path) for path in sorted((folder / "models").glob("*.yaml"))]
    found += [("contract", path) for path in sorted((folder / "contracts").glob("*.yaml"))]
    return [*found, *((kind, path) for kind in SINGLE if (path := folder / f"{kind}.yaml").exists())]


@cache  # reading the metadata of 300 packages takes 20 ms, and every look-up of a model comes here
def _installed() -> dict[str, EntryPoint]:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if ALL in found:
        raise SpecError(
            f"{found[ALL].value}: a pack is called `{ALL}`, which names what is of all packs, such as budgets: give its entry point "
            f"in the group {GROUP} another name, and install it anew"
        )
    return found


@lru_cache(maxsize=16)
def _load(name: str, folder: Path, _stamps: tuple[tuple[str, int, int], ...]) -> Pack:
    return read_pack(name, folder, _installed()[name].value)
