"""The way back: a backup becomes an installation again, on an empty home, and is verified.

Everything is laid out below `BATON_HOME/.restoring` and moved to its place at the end: what was interrupted is no installation, and
the next restore begins anew. Every file is hashed while it is copied; one that is not what the signed index says stops all.
"""

import getpass
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import switch
from baton.data import objects
from baton.errors import BatonError
from baton.progress import told
from baton.published import carrying
from baton.published.rows import DECISIONS, PREDICTIONS
from baton.record import ledger, tables, warehouse
from baton.record.tables import commits, heads
from baton.recovery import databases, index, sealing, secrets
from baton.recovery.backup import BOX, STORE, WAREHOUSE, database_urls, name_of
from baton.recovery.index import Contents
from baton.recovery.pool import Pool
from baton.settings import Settings, settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

RESTORED = "restored"
_STAGING = ".restoring"
_AT_ONCE = 500


@dataclass(frozen=True)
class Opened:
    """A backup whose index is signed by a key that is trusted, and whose secrets are open."""

    folder: Path
    index: Contents
    signer: str
    secrets: dict[str, Any]


def opened(
    folder: Path,
    by: "X25519PrivateKey | str",
    name: str | None = None,
    signed_by: Path | None = None,
    any_key: bool = False,
) -> Opened:
    """Open a backup and decide whether it is to be trusted.

    Whoever seals by the passphrase knows it, so the signing key among those secrets is believed. For a public key anybody can
    seal: then the signer's public key must be given.

    Args:
        by: the private key, or the passphrase.
        name: which backup; default the newest.
        signed_by: file of the public key that must have signed the index.
        any_key: believe the signing key that the backup itself brings along.

    Raises:
        BatonError: no backup, another signer, a changed index, secrets that do not open.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = index.read(folder, name)
    if signed_by is not None:
        found.require(_public(signed_by))
    elif not isinstance(by, str) and not any_key:
        raise BatonError(
            f"{found.path}: signed with key {found.signer}, and anybody can seal secrets for a public key: give the signer's public "
            "key, a copy of keys/signing.pub kept elsewhere, with --signed-by; or believe the backup's own with --any-key"
        )
    box = b"".join(Pool(folder).pieces(BOX, found.index.parts[BOX]))
    known = json.loads(sealing.unseal(box, by))
    own = load_pem_public_key(secrets.files_of(known)["keys/signing.pub"])
    if signed_by is None:
        found.require(own)  # type: ignore[arg-type]
    return Opened(folder, found.index, found.signer, known)


def _public(path: Path) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BatonError(f"{path}: no public key in PEM form ({error})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BatonError(f"{path}: no Ed25519 key; the signer's is keys/signing.pub of the home that wrote the backup")
    return key


def check(backup: Opened) -> int:
    """Hash every file of a backup, and write nothing; returns their number. Raises BatonError: one is missing or was changed."""
    pool, parts = Pool(backup.folder), backup.index.parts
    for name, part in told(sorted(parts.items()), "backup checked", "files", len(parts)):
        for _ in pool.pieces(name, part):
            pass
    return len(parts)


def restore(backup: Opened) -> None:
    """Lay a backup out in this BATON_HOME, its warehouse and its store, which are empty; `verify` comes next.

    Raises:
        BatonError: one of them is not empty, the databases are of another kind, a file is missing or was changed. Nothing is
            in its place then, but for objects in a store outside of the home, and those are taken away again.
    """
    here, found = settings(), backup.index
    _require_empty(here, found)
    staging = here.home / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    here.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    here.home.chmod(0o700)
    staging.mkdir(mode=0o700)
    with _taken_back(here) as written:
        _lay(backup, here, staging, written)
        secrets.lay(secrets.files_of(backup.secrets), staging)
        for part, url in database_urls(here).items():
            if (staging / part).exists() and url != f"sqlite:///{here.home / part}":
                databases.load(url, staging / part)
                (staging / part).unlink()
    os.sync()  # once, and not for each of many files
    _move(staging, here.home)
    carrying.migrate()  # of an earlier version
    _readdress(found.store, here.store_url.rstrip("/"))
    carried = backup.secrets[secrets.AIRFLOW]
    if carried is not None:
        secrets.give_airflow(here, carried)


def record(backup: Opened) -> None:
    """Write into the ledger that the state is that of a backup, and stop all effects: what came after it is not known here.

    An effect that was sent since would be sent again; a person compares with those who got them, then starts effects again.
    """
    said: dict[str, Any] = {
        "backup": backup.index.name,
        "records": backup.index.records,
        "signer": backup.signer,
        "actor": getpass.getuser(),
    }
    with warehouse.write() as conn:
        ledger.append(conn, RESTORED, backup.index.name, said)
    if switch.stopped() is None:
        switch.stop(said["actor"], f"restored from the backup {backup.index.name}: later effects may have been sent")


def _require_empty(here: Settings, found: Contents) -> None:
    if databases.kind(here.warehouse_url) != found.warehouse:
        raise BatonError(
            f"the backup's warehouse is {found.warehouse}, BATON_WAREHOUSE_URL names {databases.kind(here.warehouse_url)}: "
            "restore into a database of the same kind"
        )
    there = sorted(path.name for path in here.home.iterdir()) if here.home.exists() else []
    if there := [name for name in there if name != _STAGING]:
        raise BatonError(
            f"{here.home} is not empty ({there[0]}): a restore writes over nothing; set BATON_HOME to an empty folder"
        )
    for url in database_urls(here).values():
        databases.require_empty(url)
    if next(objects.listed(), None) is not None:
        raise BatonError(
            f"the store {here.store_url} is not empty: a restore writes over nothing; set BATON_STORE_URL to an empty one"
        )


def _lay(backup: Opened, here: Settings, staging: Path, written: list[str]) -> None:
    pool, parts = Pool(backup.folder), backup.index.parts
    inside = _inside(here)
    for name, part in told(sorted(parts.items()), "restored", "files", len(parts)):
        if name == BOX:
            continue
        if name.startswith(f"{STORE}/") and not inside:
            uri = objects.address(name.removeprefix(f"{STORE}/"), here.store_url)
            written.append(uri)
            _write(uri, pool.pieces(name, part))
            continue
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with target.open("xb") as file:
            for piece in pool.pieces(name, part):
                file.write(piece)
            os.fchmod(file.fileno(), 0o640 if name.startswith(STORE) else 0o600)


def _inside(here: Settings) -> bool:
    """Is the store where a home has it?"""
    return here.store_url.rstrip("/") == (here.home / STORE).as_uri()


def _write(uri: str, pieces: Iterator[bytes]) -> None:
    if uri.startswith("file://"):
        objects.path_of(uri).parent.mkdir(parents=True, exist_ok=True)
        with objects.path_of(uri).open("xb") as file:
            file.writelines(pieces)
        return
    with fsspec.open(uri, "wb") as file:
        file.writelines(pieces)


@contextmanager
def _taken_back(here: Settings) -> Iterator[list[str]]:
    """Gives a list for the addresses of what is written outside of the home; on an error that and the rest go again."""
    written: list[str] = []
    try:
        yield written
    except BaseException:
        for uri in written:
            objects.delete(uri)
        shutil.rmtree(here.home / _STAGING, ignore_errors=True)
        raise


def _move(staging: Path, home: Path) -> None:
    # the warehouse last: without it nothing runs
    for path in sorted(staging.iterdir(), key=lambda one: one.name == WAREHOUSE):
        path.rename(home / path.name)
    staging.rmdir()


def _readdress(before: str, now: str) -> None:
    """Have all that names objects name them where they are now; the ledger keeps what it said."""
    start = 0

    def at(uri: str) -> str:
        name = name_of(uri, before)
        return uri if name is None else objects.address(name, now)

    def batch(conn: Connection) -> int | None:
        query = sa.select(commits.c.id, commits.c.ref, commits.c.inputs).where(commits.c.id > start)
        rows = conn.execute(query.order_by(commits.c.id).limit(_AT_ONCE)).all()
        for row in rows:
            ref = {**row.ref, "uri": at(row.ref["uri"])}
            inputs = {name: {**given, "uri": at(given["uri"])} for name, given in row.inputs.items()}
            if (ref, inputs) == (row.ref, row.inputs):
                continue
            conn.execute(commits.update().where(commits.c.id == row.id).values(uri=ref["uri"], ref=ref, inputs=inputs))
            conn.execute(heads.update().where(heads.c.commit_id == row.id).values(uri=ref["uri"]))
        return int(rows[-1].id) if rows else None

    while (last := warehouse.transact(batch)) is not None:
        start = last
    warehouse.transact(lambda conn: _readdress_published(conn, at))


def _readdress_published(conn: Connection, at: Callable[[str], str]) -> None:
    for table, names in ((tables.published, (DECISIONS, PREDICTIONS)), (tables.segments, ("ref",))):
        for row in conn.execute(sa.select(table.c.number, *(table.c[name] for name in names))).mappings().all():
            values = {name: {**row[name], "uri": at(row[name]["uri"])} for name in names if row[name]}
            if any(values[name] != row[name] for name in values):
                conn.execute(table.update().where(table.c.number == row["number"]).values(values))
