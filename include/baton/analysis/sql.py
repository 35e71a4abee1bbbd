"""`baton sql`: one SELECT by DuckDB over the views, in memory of its own; no file, no network, no second statement."""

import getpass
import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baton.analysis.views import PERSONAL, VIEWS, Extent, View
from baton.errors import BatonError
from baton.progress import tell
from baton.record import ledger, warehouse

if TYPE_CHECKING:
    import duckdb

READ = "personal_data_read"


@dataclass(frozen=True)
class Allowance:
    """What a question may cost.

    Attributes:
        memory: bytes that DuckDB may use; what does not fit goes into a folder of its own, twenty times as much at most.
        seconds: from the first row read to the last row of the answer.
        rows: of the answer.
    """

    memory: int = 512_000_000
    seconds: float = 60.0
    rows: int = 1000


@dataclass(frozen=True)
class Response:
    """Rows of an answer; `more`: there are further ones, beyond the limit. `notes`: what is not as one may think."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    more: bool
    notes: list[str]


def ask(question: str, bounds: Extent, limits: Allowance | None = None) -> Response:
    """Response one SELECT over the views `predictions`, `decisions`, `labels`, `cases`.

    Raises:
        BatonError: it is no single SELECT, it is wrong, it wants what is outside, it takes too long or too much memory.
    """
    import duckdb

    bound = limits or Allowance()
    _require_select(question)
    if bounds.personal:
        _put_on_record(question)
    started, scanned = time.monotonic(), dict.fromkeys(VIEWS, 0)

    def reading(name: str, rows: int) -> None:
        scanned[name] += rows
        tell("rows read", "rows", sum(scanned.values()))
        if time.monotonic() - started > bound.seconds:
            raise TimeoutError

    views = [View(name, bounds, reading) for name in VIEWS]
    with _sandbox(bound.memory) as conn:
        for view in views:
            conn.register(view.name, view)
        alarm = threading.Timer(bound.seconds, conn.interrupt)
        alarm.start()
        try:
            found = conn.sql(question)
            columns, rows = list(found.columns), found.limit(bound.rows + 1).fetchall()
        except (duckdb.Error, RuntimeError, TimeoutError) as error:
            raise _explained(error, [one for view in views for one in view.failed], bound, started) from error
        finally:
            alarm.cancel()
    return Response(columns, rows[: bound.rows], len(rows) > bound.rows, _notes(bounds, scanned))


def _require_select(question: str) -> None:
    import duckdb

    try:
        given = duckdb.extract_statements(question)
    except duckdb.Error as error:
        raise BatonError(f"not SQL: {error}") from error
    if [one.type for one in given] != [duckdb.StatementType.SELECT]:
        kinds = ", ".join(one.type.name for one in given) or "nothing"
        raise BatonError(f"one SELECT is answered, this is {kinds}: nothing can be changed here")


@contextmanager
def _sandbox(memory: int) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A database in memory that reaches nothing outside, and whose settings a question cannot change."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="baton-sql-") as spilled:
        conn = duckdb.connect(":memory:", config={
            "enable_external_access": "false", "python_enable_replacements": "false", "allow_community_extensions": "false",
            "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "memory_limit": f"{memory}B",
            "threads": "2", "temp_directory": spilled, "max_temp_directory_size": f"{20 * memory}B", "lock_configuration": "true",
        })  # fmt: skip
        try:
            yield conn
        finally:
            conn.close()


def _put_on_record(question: str) -> None:
    with warehouse.write() as conn:  # not the question itself: it may name somebody
        said = {"actor": getpass.getuser(), "question_sha256": hashlib.sha256(question.encode()).hexdigest()}
        ledger.append(conn, READ, "sql", said)


def _explained(error: Exception, failed: list[BaseException], bound: Allowance, started: float) -> BatonError:
    own = next((one for one in failed if isinstance(one, BatonError)), None)
    if own is not None:
        return BatonError(str(own))
    if time.monotonic() - started >= bound.seconds:
        narrower = "name a flow and partitions (--flow, --from, --until), or give it longer (--seconds)"
        return BatonError(f"no answer within {bound.seconds:g} s: {narrower}")
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "Out of Memory" in first:
        return BatonError(f"it needs more than {bound.memory / 1e6:.0f} MB: ask for less, or give it more (--memory)")
    return BatonError(f"{first}; views: {', '.join(f'{name} ({_columns(name)})' for name in VIEWS)}")


def _columns(name: str) -> str:
    return ", ".join(VIEWS[name])


def _notes(bounds: Extent, scanned: dict[str, int]) -> list[str]:
    notes = [
        f"{name}: {', '.join(columns)} are hidden, they may name people; --personal shows them, and goes on record"
        for name, columns in PERSONAL.items() if scanned[name] and not bounds.personal
    ]  # fmt: skip
    if bounds.at is not None and scanned["labels"]:
        notes.append(f"labels: those that were corrected after {bounds.at} are not among them")
    return notes
