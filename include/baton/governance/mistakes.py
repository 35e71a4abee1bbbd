"""What is wrong with a pack's `governance.yaml` beyond its form: entries that name nothing, assets that nobody answers for."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from baton.governance.assets import FILE
from baton.governance.content import unreadable
from baton.packs.spec_file import Problem, SpecFile, did_you_mean
from baton.specs.governance import ASSET_KINDS, AssetKind, GovernanceSpec


def problems(
    folder: Path, file: SpecFile | None, has: Mapping[AssetKind, Collection[str]], uses: Mapping[str, Collection[str]] | None,
    flows: Collection[str] | None,
) -> Iterator[Problem]:  # fmt: skip
    """Mistakes of one pack's file.

    Args:
        file: as it was read; None: the pack has none.
        has: names of the pack's assets by kind, without flows.
        uses: models that each flow of the pack scores with; None: there are no DAG files to read.
        flows: DAG ids of all flows; None as before.
    """
    for path, why in unreadable(folder.name, folder):
        yield Problem(str(path), 1, "", f"{why}: a stage that works by it stops")
    if file is None:
        message = "is not there: nobody answers for what the pack has, so nothing may use it"
        yield Problem(str(folder / FILE), 1, "", message, "at least `default`")
        return
    if not isinstance(file.spec, GovernanceSpec):
        return
    spec, known = file.spec, {**has, "flow": sorted(uses)} if uses is not None else has
    for kind, names in known.items():
        yield from _names(file, spec, kind, names)
    said = [((kind, name), one) for kind in ASSET_KINDS for name, one in spec.entries(kind).items()]
    for at, terms in [*said, *([(("default",), spec.default)] if spec.default else [])]:
        for position, flow in enumerate(terms.consumers or ()):
            if flows is not None and flow not in flows:
                message = f"no flow `{flow}`{did_you_mean(flow, flows)}"
                yield file.problem((*at, "consumers", position), message, ", ".join(sorted(flows)))
    for flow, models in (uses or {}).items():
        yield from _refused(file, spec, flow, [model for model in models if model in has["model"]])


def _names(file: SpecFile, spec: GovernanceSpec, kind: AssetKind, has: Collection[str]) -> Iterator[Problem]:
    """Entries that name nothing, and what is named by none."""
    for name in spec.entries(kind):
        if name not in has:
            message = f"the pack has no {kind} `{name}`{did_you_mean(name, has)}"
            yield file.problem((kind, name), message, ", ".join(has) or "none yet")
    for name in has if spec.default is None else ():
        if name not in spec.entries(kind):
            yield file.problem((), f"nobody answers for {kind}:{name}", f"an entry below `{kind}`, or `default`")


def _refused(file: SpecFile, spec: GovernanceSpec, flow: str, models: Collection[str]) -> Iterator[Problem]:
    """Models that a flow of the pack scores with, and may not."""
    for model in models:
        terms = spec.terms("model", model)
        if terms is not None and flow not in terms.consumers:
            loc = ("model", model) if model in spec.model else ("default",)
            message = f"flow {flow} scores with `{model}`, and is not among those that may: it would be refused"
            yield file.problem((*loc, "consumers"), message, f"consumers: [{', '.join([*terms.consumers, flow])}]")
