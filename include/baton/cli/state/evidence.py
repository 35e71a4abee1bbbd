"""`baton evidence`, `baton witness`, `baton ledger checkpoint|key|prove`: what an outsider verifies."""

import hashlib
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from baton.errors import BatonError
from baton.record import ledger, warehouse
from baton.settings import settings

_MODEL = re.compile(r"model:([A-Za-z][A-Za-z0-9_\-]{0,99})@([1-9][0-9]{0,8})")


def register(app: typer.Typer, ledger_app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(evidence)
    app.command()(witness)
    ledger_app.command()(checkpoint)
    ledger_app.command()(key)
    ledger_app.command()(prove)


def evidence(
    about: Annotated[str | None, typer.Argument(help="model:NAME@VERSION")] = None,
    to: Annotated[Path | None, typer.Option(help="The pack, a new .zip file; default NAME-VERSION.zip here.")] = None,
    seen: Annotated[
        Path | None, typer.Option(help="A checkpoint that the reader kept, perhaps cosigned: the pack continues it.")
    ] = None,
    verifier: Annotated[bool, typer.Option("--verifier", help="Print verify.py, for a bare Python, instead.")] = False,
) -> None:
    """Write what is on record of a model version into one ZIP file that an auditor verifies without Baton."""
    from baton.evidence.model import evidence as pack
    from baton.evidence.pack import source
    from baton.files import place

    if verifier:
        sys.stdout.write(source())
        return
    if (named := _MODEL.fullmatch(about or "")) is None:
        raise BatonError(
            f"{about or 'nothing'}: say model:NAME@VERSION; packs about flows and decisions are not made yet"
        )
    model, version = named[1], int(named[2])
    to = to or Path(f"{model}-{version}.zip")
    if to.exists():
        raise BatonError(f"{to} is there already: name another file with --to")
    made = pack(model, version, settings().keys_dir, _folder(model, version), _read(seen) if seen else "")
    place(to.absolute(), made)
    print(f"{to}: {len(made):,} bytes, sha256 {hashlib.sha256(made).hexdigest()}")
    print(
        "verify it with `python verify.py PACK --key KEY`: the file from `baton evidence --verifier`, the key from `baton ledger key`"
    )


def _folder(model: str, version: int) -> Path | str:
    """The verified files of a version, or why there are none."""
    from baton.registry.client import Registry
    from baton.services.mlflow_server import at_hand

    with at_hand(settings().home) as url:
        return Registry(url).verified(model, version) if url else "no registry was ever made in this BATON_HOME"


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
