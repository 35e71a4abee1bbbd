"""`baton evidence`, `baton witness`, `baton ledger checkpoint|key|prove`: what an outsider verifies."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baton.cli.actions import person
from baton.errors import BatonError
from baton.governance import duties
from baton.record import asof, ledger, warehouse
from baton.record.erased import erasures
from baton.record.ledger import LedgerEntry
from baton.settings import settings

if TYPE_CHECKING:
    from baton.evidence.decision import Basis

_MODEL = re.compile(r"model:([A-Za-z][A-Za-z0-9_\-]{0,99})(?:@([1-9][0-9]{0,8}))?")
_FLOW = re.compile(r"flow:([A-Za-z][A-Za-z0-9_.~\-]{0,99})")


def register(app: typer.Typer, ledger_app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(evidence)
    app.command()(witness)
    ledger_app.command()(checkpoint)
    ledger_app.command()(key)
    ledger_app.command()(prove)


def evidence(
    about: Annotated[str | None, typer.Argument(help="model:NAME@VERSION, flow:DAG_ID, or the word decision.")] = None,
    entity: Annotated[
        str | None, typer.Argument(help="Of a decision: the entity's key, as its flow publishes it.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The pack, a new .zip file; default a name of its own here.")] = None,
    flow: Annotated[str | None, typer.Option(help="Of a decision: DAG id, when several flows know the key.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="Leave out what is of later; without a zone it is UTC. A model needs no version then."),
    ] = None,
    seen: Annotated[
        Path | None, typer.Option(help="A checkpoint that the reader kept, perhaps cosigned: the pack continues it.")
    ] = None,
    verifier: Annotated[bool, typer.Option("--verifier", help="Print verify.py, for a bare Python, instead.")] = False,
) -> None:
    """Write what is on record of a model version, a flow or a decision into one ZIP file that an auditor verifies without Baton."""
    from baton.evidence import decision as of_decision
    from baton.evidence import flow as of_flow
    from baton.evidence import model as of_model
    from baton.evidence.pack import source
    from baton.files import place

    if verifier:
        sys.stdout.write(source())
        return
    then, naive = asof.moment(as_of) if as_of else ("", False)
    keys, kept = settings().keys_dir, _read(seen) if seen else ""
    made: Callable[[of_flow.Folder], bytes]
    if about == "decision" and entity:
        basis = _basis(entity, flow)
        name, made = f"decision-{basis.flow}", lambda folder: of_decision.evidence(basis, keys, folder, kept, then)
    elif (named := _FLOW.fullmatch(about or "")) and not entity:
        dag = named[1]
        name, made = dag, lambda folder: of_flow.evidence(dag, keys, folder, kept, then)
    elif (named := _MODEL.fullmatch(about or "")) and not entity and (named[2] or then):
        model = named[1]
        version = int(named[2]) if named[2] else _champion(model, then)
        name = f"{model}-{version}"
        made = lambda folder: of_model.evidence(model, version, keys, folder(model, version), kept, then)  # noqa: E731
    else:
        raise BatonError(
            f"{about or 'nothing'}: say model:NAME@VERSION (without a version with --as-of), flow:DAG_ID, or decision ENTITY"
        )
    to = to or Path(f"{name}.zip")
    if to.exists():
        raise BatonError(f"{to} is there already: name another file with --to")
    with _versions(strict=(about or "").startswith("model:")) as folder:
        data = made(folder)
    place(to.absolute(), data)
    print(f"{to}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    if naive:
        print(f"as of {then}: the moment had no zone, it was read as UTC")
    print(
        "verify it with `python verify.py PACK --key KEY`: the file from `baton evidence --verifier`, the key from `baton ledger key`"
    )


@contextmanager
def _versions(strict: bool) -> Iterator[Callable[[str, int], Path | str]]:
    """What gives the verified files of a version, or says why there are none; strict: what does not verify is an error."""
    from baton.registry.client import Registry
    from baton.services.mlflow_server import at_hand

    with at_hand(settings().home) as url:
        registry = Registry(url) if url else None

        def folder(model: str, version: int) -> Path | str:
            if registry is None:
                return "no registry was ever made in this BATON_HOME"
            try:
                return registry.verified(model, version)
            except BatonError as refusal:  # gone, or it does not verify
                if strict:
                    raise
                return f"the registry's files cannot be had: {refusal}"

        yield folder


def _champion(model: str, then: str) -> int:
    with warehouse.read() as conn:
        return int(asof.of_model(conn, model, then)["version"])


def _basis(entity: str, flow: str | None) -> "Basis":
    """What the decision in force on an entity rests on."""
    from baton.console.queries.lineage import lineage, places
    from baton.evidence.decision import Basis

    known = places(entity, flow)
    if len(flows := sorted({one for _, one in known})) > 1:
        raise BatonError(f"{entity!r} is known to {', '.join(flows)}: name one with --flow")
    for one in flows:
        _require_auditor(one)
    line = lineage(known[-1][1], entity, known[-1][0]) if known else None
    if line is None or line.published is None:
        gone = _erasures(entity, flow)
        erased = f": erased on {gone[0].at[:10]}, and the salt of its digests with it" if gone else ""
        raise BatonError(
            f"no flow has published a decision on {entity!r}{erased}; check the key, or wait for its partition"
        )
    checked = [(one.commit, one.row) for one in line.checked]
    return Basis(line.flow, entity, line.partition, line.decision, line.scores, line.published, checked, line.sources)


def _erasures(entity: str, flow: str | None) -> list[LedgerEntry]:
    """Those of which whoever asks may hear: that somebody was known is personal as well."""

    def told(one: LedgerEntry) -> bool:
        try:
            _require_auditor(one.subject.rpartition("/")[0])
        except BatonError:
            return False
        return True

    return [one for one in erasures(entity, flow) if told(one)]


def _require_auditor(flow: str) -> None:
    """Only who has the duty gets what is of one entity, masked as it is.

    Raises:
        BatonError: they have it not; says who has.
    """
    with warehouse.read() as conn:
        said = duties.require(conn, f"flow:{flow}", "audit", duties.Who(person().id))
    if said:
        print(said)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BatonError(f"{path}: cannot be read as text: {error}") from None


def witness(
    request: Annotated[Path, typer.Argument(help="What `baton ledger checkpoint --after` printed, as a file.")],
    folder: Annotated[Path, typer.Option(help="The witness's own, with its key and what it saw; on another machine.")],
    key: Annotated[Path, typer.Option(help="The ledger's public key (PEM), from `baton ledger key`.")],
) -> None:
    """Cosign a checkpoint of somebody's ledger if it continues the last one seen; prints it. Needs no installation."""
    from baton.evidence.proofs import Unproven, public_key
    from baton.evidence.witness import cosign

    try:
        known = public_key(_read(key))
    except Unproven as refusal:
        raise BatonError(f"{key}: {refusal}") from None
    sys.stdout.write(cosign(_read(request), folder, known))


def checkpoint(
    after: Annotated[
        int | None,
        typer.Option(
            help="For a witness: with the proof that it continues its last, of so many entries; 0: none.", min=0
        ),
    ] = None,
) -> None:
    """Sign the ledger as it is now, and print that; whoever keeps it can tell later that nothing was rewritten."""
    from baton.evidence.witness import request
    from baton.record import tree

    made = ledger.checkpoint()
    if after is None:
        sys.stdout.write(made.note)
        return
    if after > made.size:
        raise BatonError(f"--after {after}: the ledger has {made.size} entries")
    with warehouse.read() as conn:
        sys.stdout.write(request(after, tree.kept(conn).consistency(after, made.size), made.note))


def key() -> None:
    """Print the public key of checkpoints and packs of evidence, with its SHA-256."""
    from baton.keys import public_pem, signing_key
    from baton.record import anchor
    from baton.record.checkpoint import KEY

    public = signing_key(anchor.folder(), KEY).public_key()
    sys.stdout.write(public_pem(public).decode())
    print(f"sha256 {hashlib.sha256(public.public_bytes_raw()).hexdigest()}", file=sys.stderr)


def prove(number: Annotated[int, typer.Argument(help="Number of an entry.")]) -> None:
    """Print the proof that an entry is in the ledger, in the form c2sp.org/tlog-proof, up to a checkpoint made now."""
    from baton.evidence.from_ledger import inclusion

    made = ledger.checkpoint()
    with warehouse.read() as conn:
        sys.stdout.write(inclusion(conn, number, made))
