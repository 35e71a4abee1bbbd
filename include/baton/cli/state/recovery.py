"""`baton verify`, `baton backup`, `baton restore`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baton.cli.output import Json, as_json, plural, table
from baton.errors import BatonError

if TYPE_CHECKING:
    from baton.recovery.restore import Opened

Shelved = Annotated[
    str,
    typer.Argument(
        help="Folder of backups on another disk or machine, or s3://bucket/folder of an object store.", metavar="DIR"
    ),
]
Passphrase = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File of the passphrase that seals the secrets.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(verify)
    app.command()(backup)
    app.command()(restore)


def verify(
    new: Annotated[
        bool, typer.Option("--new", help="Only what came after the last check that found all well.")
    ] = False,
    json: Json = False,
) -> None:
    """Check that all on record is there as it was written: ledger, datasets in force, model versions; exit code 1 if not."""
    from baton.recovery.verify import verify
    from baton.registry.client import Registry
    from baton.services.mlflow_server import at_hand
    from baton.settings import settings

    with at_hand(settings().home) as url:
        found = verify(Registry(url) if url else None, new=new)
    if json:
        print(as_json(found))
    elif found.faults:
        table(["what", "where", "what is wrong, and what to do"], [list(asdict(one).values()) for one in found.faults])
    looked = (
        f"{plural(found.entries, 'ledger entry', 'ledger entries')}, {plural(found.datasets, 'dataset', 'datasets')}, "
    )
    looked += f"{plural(found.versions, 'model version', 'model versions')}{' since the last check' if new else ''}"
    if found.faults:
        raise BatonError(f"{plural(len(found.faults), 'fault', 'faults')} in {looked}")
    if not json:
        print(f"{looked}: all as written")


def backup(
    where: Shelved,
    to: Annotated[Path | None, typer.Option(help="X25519 public key (PEM) that the secrets are sealed for.")] = None,
    passphrase_file: Passphrase = None,
    keep: Annotated[
        int | None, typer.Option(help="How many backups stay in DIR; older ones go. Default: all.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Copy all state into DIR, next to earlier backups; what they hold already is not copied again. Services may run."""
    from baton.recovery import sealing
    from baton.recovery.backup import backup

    if (to is None) == (passphrase_file is None):
        raise typer.BadParameter("secrets are not written open: give one of --to and --passphrase-file")
    made = backup(where, sealing.recipient(to) if to else sealing.passphrase(passphrase_file or Path()), keep)
    if json:
        print(as_json(made))
        return
    print(
        f"{made.path}: {plural(made.parts, 'file', 'files')}, {made.size / 1e6:.1f} MB, {made.copied / 1e6:.1f} MB of it new"
    )
    print(f"signed with key {made.signer}; keep a copy of keys/signing.pub elsewhere, a restore may ask for it")


def restore(
    where: Shelved,
    name: Annotated[
        str | None, typer.Option("--from", help="Which backup, by its index's name; default the newest.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="X25519 private key (PEM) that opens the secrets.")] = None,
    passphrase_file: Passphrase = None,
    signed_by: Annotated[
        Path | None, typer.Option(help="Public key that must have signed: a kept keys/signing.pub.")
    ] = None,
    any_key: Annotated[
        bool, typer.Option("--any-key", help="Believe the signing key that the backup brings along.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Check signature and every file; write nothing.")] = False,
    verified: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="End with `baton verify`; not where MLflow starts only afterwards."),
    ] = True,
) -> None:
    """Make an installation of a backup again, in an empty BATON_HOME, and verify it; all effects stay stopped at first."""
    from baton.recovery import restore as recovery

    found = _opened(where, name, key, passphrase_file, signed_by, any_key)
    if check:
        print(
            f"{found.index.name}: {plural(recovery.check(found), 'file', 'files')}, all as written; signed with key {found.signer}"
        )
        return
    recovery.restore(found)
    recovery.record(found)
    print(
        f"restored {found.index.name}, {plural(found.index.records, 'ledger entry', 'ledger entries')}; not verified yet",
        flush=True,
    )
    if verified:
        verify()
    else:
        print("start the services, then `baton verify`")
    print("all effects are stopped: compare with those who got what was sent since, then `baton actions start`")


def _opened(
    where: str, name: str | None, key: Path | None, passphrase_file: Path | None, signed_by: Path | None, any_key: bool
) -> "Opened":
    from baton.recovery import restore, sealing

    if (key is None) == (passphrase_file is None):
        raise typer.BadParameter("what opens the secrets? give one of --key and --passphrase-file")
    by = sealing.opener(key) if key else sealing.passphrase(passphrase_file or Path())
    return restore.opened(where, by, name, signed_by, any_key)
