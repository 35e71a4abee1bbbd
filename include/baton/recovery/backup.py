"""A copy of an installation elsewhere: databases first, what they name second, the signed index last.

An object that a database names is written before the row that names it, and never changed: copied after the database, none is
missing. The other way round one would be.
"""

import getpass
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

import fsspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import objects
from baton.data.datasets import DatasetRef
from baton.data.parts import of_manifest
from baton.errors import BatonError
from baton.keys import signing_key
from baton.progress import tell, told
from baton.published import index as keys
from baton.published.index import FOLDER
from baton.published.rows import DECISIONS, PREDICTIONS
from baton.record import anchor, ledger, warehouse
from baton.record.tables import commits, heads
from baton.record.tables import ledger as entries
from baton.recovery import databases, index, sealing, secrets, shelf
from baton.recovery.index import Contents, Filed
from baton.recovery.pool import Pool
from baton.settings import Settings, settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

BEGUN = "backup_begun"
BOX, WAREHOUSE, ANCHOR, CHECKED = "secrets.box", "warehouse.db", "ledger/anchor", "ledger/verified"
MLFLOW, LOG_IN, ARTEFACTS, STORE = "mlflow/mlflow.db", "mlflow/basic_auth.db", "mlflow/artifacts", "store"
# slot and file, as `baton.stages.slots` names them
_FILES = r"(?:\.json|(?:\.\d{5})?\.parquet)"
_OBJECT = re.compile(
    rf"/([^/]+/[^/]+/[^/]+/-?\d+/[0-9a-f]{{64}}-\d+-[0-9a-f]{{12}}(?:\.(?:{DECISIONS}|{PREDICTIONS}))?{_FILES}"
    rf"|{FOLDER}/[0-9a-f]{{12}}/\d+-[0-9a-f]{{32}}{_FILES})$"
)
PATIENCE = 10.0  # seconds until the last entry has its line in the anchor


@dataclass(frozen=True)
class Written:
    """A finished backup: its index, its name, number of parts, bytes in all, bytes that no earlier backup had, and which key signed it."""

    path: Path | str
    name: str
    parts: int
    size: int
    copied: int
    signer: str


def backup(where: Path | str, to: "X25519PublicKey | str", keep: int | None = None) -> Written:
    """Write a backup into a folder or an object store, which may hold earlier ones; services may run meanwhile.

    Args:
        where: a path outside of BATON_HOME, made if it is not there; or an address such as `s3://bucket/folder` outside of the store.
        to: whom the secrets are sealed for: a public key, or a passphrase.
        keep: so many backups stay, this one among them; the oldest go, with the files that no other one names.

    Raises:
        BatonError: something that the databases name is missing or was changed (named); another backup runs there; it is inside
            of what it saves. What is written so far is no backup, and is used by the next one.
    """
    here, pool = settings(), Pool(where)
    if around := shelf.at(where).inside(here.home, here.store_url):
        raise BatonError(f"{where} is inside of {around}, and would be lost with it; choose another disk or bucket")
    target = str(where) if "://" in str(where) else str(Path(where).resolve())
    with pool.writing():
        name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3] + "Z"
        key = signing_key(here.keys_dir)
        signer = index.fingerprint(key.public_key())
        with warehouse.write() as conn:  # also has the anchor name what processes that died left out
            ledger.append(conn, BEGUN, name, {"actor": getpass.getuser(), "to": target, "signer": signer})
        records, parts = _open_parts(pool, where, here)
        parts[BOX] = _keep_bytes(pool, sealing.seal(secrets.gather(here), to))
        pool.sync()
        made = Contents(name, here.store_url.rstrip("/"), databases.kind(here.warehouse_url), records, parts)
        path = index.write(where, made, key)
        if keep is not None:
            _forget(pool, where, keep)
    return Written(path, name, len(parts), sum(part.size for part in parts.values()), pool.copied, signer)


def _forget(pool: Pool, where: Path | str, keep: int) -> None:
    known = index.names(where)
    named = {part.sha256 for name in known[-keep:] for part in index.read(where, name).index.parts.values()}
    for name in known[:-keep]:  # first the index: without it nothing is a backup
        shelf.at(where).remove(f"{name}.index")
    pool.forget(named)


def _open_parts(pool: Pool, where: Path | str, here: Settings) -> tuple[int, dict[str, Filed]]:
    """Number of the ledger's entries, and all parts but the secrets."""
    parts: dict[str, Filed] = {}
    checked = anchor.folder() / "verified"
    if checked.exists():  # before the database: what it says was verified is in the copy
        parts[CHECKED] = _keep_bytes(pool, checked.read_bytes())
    dump = pool.unfinished / "warehouse"
    with databases.dumped(here.warehouse_url, dump) as conn:
        records = conn.scalar(sa.select(sa.func.max(entries.c.seq))) or 0
        parts[ANCHOR] = pool.keep_file(_anchor(pool.unfinished / "anchor", records))
        for name, url in _mlflow_databases(here).items():
            with databases.dumped(url, pool.unfinished / "mlflow"):
                pass
            parts[name] = pool.keep_file(pool.unfinished / "mlflow")
        parts |= _objects(pool, conn, here.store_url.rstrip("/"))
    parts[WAREHOUSE] = pool.keep_file(dump)
    parts |= _artefacts(pool, here.home, _earlier(where))
    return records, parts


def _keep_bytes(pool: Pool, content: bytes) -> Filed:
    path = pool.unfinished / "bytes"
    path.write_bytes(content)
    return pool.keep_file(path)


def _anchor(target: Path, records: int) -> Path:
    """Copy the anchor's lines up to an entry: those of later ones would say that entries are missing."""
    path, deadline = anchor.anchor_path(), time.monotonic() + PATIENCE
    while True:
        numbered = [one.split(b" ", 1) for one in anchor.lines(path, path.stat().st_size, last=0)]
        if any(line[0].isdigit() and int(line[0]) >= records for line in numbered):
            break
        if time.monotonic() > deadline:
            raise BatonError(f"entry {records} of the ledger has no line in {path} yet; repeat the backup")
        time.sleep(0.1)
    with target.open("wb") as file:
        for one in anchor.lines(path, path.stat().st_size):
            number = one.split(b" ", 1)[0]
            if not number.isdigit() or int(number) <= records:
                file.write(one)
    return target


def database_urls(here: Settings) -> dict[str, str]:
    """SQLAlchemy URLs of the databases by their part."""
    mlflow = os.environ.get("MLFLOW_BACKEND_STORE_URI") or f"sqlite:///{here.home / MLFLOW}"
    return {WAREHOUSE: here.warehouse_url, MLFLOW: mlflow, LOG_IN: f"sqlite:///{here.home / LOG_IN}"}


def _mlflow_databases(here: Settings) -> dict[str, str]:
    """Those of MLflow that are there; none where no MLflow ever ran.

    Raises:
        BatonError: MLflow is elsewhere, so that its files are not at hand.
    """
    known = {name: url for name, url in database_urls(here).items() if name != WAREHOUSE}
    there = {name: url for name, url in known.items() if databases.exists(url)}
    if not there and os.environ.get("BATON_MLFLOW_TRACKING_URI"):
        raise BatonError(
            f"MLflow's database and artefacts are not in {here.home / 'mlflow'}: run the backup where its volume is mounted, "
            "with MLFLOW_BACKEND_STORE_URI where its database is a server"
        )
    return there


def name_of(uri: str, store: str) -> str | None:
    """Name of an object below its store, also of one that an earlier address of the store names; None for anything else."""
    plain = unquote(uri) if uri.startswith("file://") else uri
    root = unquote(store) if store.startswith("file://") else store
    if plain.startswith(f"{root}/"):
        return plain[len(root) + 1 :]
    found = _OBJECT.search(plain)
    return found[1] if found else None


def _objects(pool: Pool, conn: Connection, store: str) -> Iterator[tuple[str, Filed]]:
    """Objects of the store that commits name: all that are in force, and earlier ones as far as they are there."""
    total = conn.scalar(sa.select(sa.func.count()).select_from(commits)) or 0
    query = sa.select(commits.c.ref, heads.c.commit_id).select_from(
        commits.outerjoin(heads, heads.c.commit_id == commits.c.id)
    )
    rows = conn.execution_options(yield_per=500).execute(query.order_by(commits.c.id))
    for row in told(rows, "store copied", "datasets", total):
        ref = DatasetRef.from_dict(row.ref)
        yield from _dataset(pool, ref, store, needed=row.commit_id is not None)
    for ref in told(keys.named(conn), "store copied", "published datasets"):
        yield from _dataset(pool, ref, store, needed=True)


def _dataset(pool: Pool, ref: DatasetRef, store: str, needed: bool) -> Iterator[tuple[str, Filed]]:
    try:
        for uri, part in _stored(pool, ref):
            yield f"{STORE}/{name_of(uri, store)}", part
    except FileNotFoundError:
        if needed:
            raise BatonError(
                f"{ref.uri} is in force and missing: if it was erased or retained just now, repeat the backup; "
                "else see `baton verify`"
            ) from None


def _stored(pool: Pool, ref: DatasetRef) -> Iterator[tuple[str, Filed]]:
    """The objects of a dataset: one, or its parts and their manifest."""
    if ref.kind == "parquet":
        yield ref.uri, _object(pool, ref.uri, ref.content_sha256)
        return
    for part in of_manifest(ref.uri, ref.content_sha256):
        yield part.uri, _object(pool, part.uri, part.sha256)
    with opened(ref.uri) as manifest:
        yield ref.uri, pool.keep(manifest)


def _object(pool: Pool, uri: str, sha256: str) -> Filed:
    size = pool.size(sha256)
    if size is not None:
        return Filed(sha256, size)
    with opened(uri) as source:
        part = pool.keep(source)
    if part.sha256 != sha256:
        raise BatonError(f"{uri}: has other bytes than were committed; see `baton verify`, then repeat the backup")
    return part


def opened(uri: str) -> BinaryIO:
    """The bytes of an object, piece by piece. Raises FileNotFoundError: it is not there."""
    if uri.startswith("file://"):
        return objects.path_of(uri).open("rb")
    opened: BinaryIO = fsspec.open(uri, "rb").open()
    return opened


def _earlier(where: Path | str) -> Mapping[str, Filed]:
    """Parts of the newest backup there; nothing where its index cannot be read."""
    try:
        return index.read(where).index.parts
    except BatonError:
        return {}


def _artefacts(pool: Pool, home: Path, earlier: Mapping[str, Filed]) -> Iterator[tuple[str, Filed]]:
    """MLflow's files; one with the size and time that it had in the last backup is not read again."""
    done = 0
    for path in sorted((home / ARTEFACTS).rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        done += 1
        tell("artefacts copied", "files", done)
        name, about = path.relative_to(home).as_posix(), path.stat()
        known = earlier.get(name)
        same = known is not None and (known.size, known.modified) == (about.st_size, about.st_mtime_ns)
        if known is not None and same and pool.size(known.sha256) == known.size:
            yield name, known
            continue
        with path.open("rb") as source:
            part = pool.keep(source)
        yield name, Filed(part.sha256, part.size, about.st_mtime_ns)
