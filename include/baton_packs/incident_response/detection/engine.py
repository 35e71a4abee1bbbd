"""Runs all rules over a partition's events in one pass of DuckDB: in memory, without files or network, within limits.

The SQL is made of rules that the pack brings, by `backend`; texts of events are rows, never part of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from threading import Event, Timer
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError
from baton_packs.incident_response.detection.backend import address_digits
from baton_packs.incident_response.detection.taxonomy import ADDRESSES, DERIVED, NUMBERS, TEXTS

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pandas as pd

    from baton_packs.incident_response.detection.rules import CompiledRule

MEMORY = "2GB"
SECONDS = 120.0  # for all rules together
LONGEST = 32768  # characters of a text that rules look at, as the contract allows of a command line


def matches(
    events: pd.DataFrame, rules: Sequence[CompiledRule], seconds: float = SECONDS
) -> tuple[np.ndarray, np.ndarray]:
    """Which events match which rules.

    Args:
        events: n rows with the columns of the contract `events`; one that is not there counts as empty.
        rules: without correlations.
        seconds: more, and it is stopped.

    Returns:
        positions of the m events that match some rule, shape (m,), rising; and which, shape (m, rules).

    Raises:
        BatonError: the rules took longer, or a rule's SQL failed; names the rule.
    """
    import duckdb
    import numpy as np

    if not len(events) or not rules:
        return np.empty(0, dtype=int), np.empty((0, len(rules)), dtype=bool)
    connection = connect()
    late = Event()  # what is interrupted between two statements goes on with the next

    def stop() -> None:
        late.set()
        connection.interrupt()

    timer = Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        hits = ", ".join(f"COALESCE(({rule.where}), FALSE) AS r{n}" for n, rule in enumerate(rules))
        _lay_out(connection, events, hits)
        either = " OR ".join(f"r{n}" for n in range(len(rules)))
        query = f"SELECT * FROM (SELECT position, {hits} FROM events) WHERE {either} ORDER BY position"  # noqa: S608
        if late.is_set():
            raise duckdb.InterruptException("too late to begin")
        found = connection.execute(query).fetchnumpy()
    except duckdb.InterruptException as error:
        raise BatonError(f"{len(rules)} rules over {len(events)} events took longer than {seconds:g} s") from error
    except duckdb.Error as error:
        raise BatonError(f"rules: {_guilty(rules) or error}") from error
    finally:
        timer.cancel()
        connection.close()
    return np.asarray(found["position"]).astype(int), np.column_stack(
        [found[f"r{n}"] for n in range(len(rules))]
    ).astype(bool)


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that reads nothing from outside; nobody can allow it again."""
    import duckdb

    connection = duckdb.connect(":memory:")
    threads = min(2, os.cpu_count() or 1)
    for name, value in (
        ("temp_directory", "''"), ("memory_limit", f"'{MEMORY}'"), ("threads", threads),
        ("autoinstall_known_extensions", "false"), ("autoload_known_extensions", "false"),
        ("enable_external_access", "false"), ("lock_configuration", "true"),
    ):  # fmt: skip
        connection.execute(f"SET {name} = {value}")
    return connection


def _lay_out(connection: duckdb.DuckDBPyConnection, events: pd.DataFrame, sql: str) -> None:
    """The table `events`, of what the rules' SQL names: columns as they are, texts in small letters too, addresses as digits."""
    import pyarrow as pa

    size, named = len(events), set(re.findall(r"\w+", sql))
    made = {name: text for name, text in DERIVED.items() if {name, f"{name}__l"} & named}
    named.update(word for text in made.values() for word in re.findall(r"\w+", text))
    columns: dict[str, Any] = {"position": pa.array(range(size), pa.int64())}
    for name in TEXTS:
        if {name, f"{name}__l", f"{name}__a"} & named:
            columns[name] = _texts(events, name)
    for name in NUMBERS:
        if name not in named:
            continue
        known = events[name].to_numpy(dtype="float64", na_value=float("nan")) if name in events else None
        empty = pa.nulls(size, pa.int64())
        columns[name] = empty if known is None else pa.array(known, from_pandas=True).cast(pa.int64())
    for name in ADDRESSES:
        if f"{name}__a" not in named:
            continue
        distinct = columns[name].dictionary_encode()
        written = pa.array([address_digits(text) for text in distinct.dictionary.to_pylist()], pa.string())
        columns[f"{name}__a"] = written.take(distinct.indices)
    connection.register("delivered", pa.table(columns))
    derived = "".join(f", {text} AS {name}" for name, text in made.items())
    small = "".join(f", lower({name}) AS {name}__l" for name in (*TEXTS, *DERIVED) if f"{name}__l" in named)
    connection.execute(f"CREATE TABLE events AS SELECT *{small} FROM (SELECT *{derived} FROM delivered)")  # noqa: S608
    connection.unregister("delivered")


def _texts(events: pd.DataFrame, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in events:
        return pa.nulls(len(events), pa.string())
    made = pa.array(events[name], pa.string(), from_pandas=True)
    made = made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made
    return pc.utf8_slice_codeunits(made, 0, LONGEST) if name in ("process_cmd_line", "raw_data") else made


def _guilty(rules: Sequence[CompiledRule]) -> str:
    """The first rule whose SQL does not even run on no rows, and why."""
    return next((f"{rule.title} ({rule.rule_id}): {why}" for rule in rules if (why := sql_mistake(rule.where))), "")


def sql_mistake(where: str) -> str:
    """Why a condition does not run; empty: it does. Regular expressions are RE2's and know no look-around."""
    import duckdb
    import pandas as pd

    with connect() as connection:
        query = f"SELECT COALESCE(({where or 'FALSE'}), FALSE) FROM events"  # noqa: S608
        _lay_out(connection, pd.DataFrame({"metadata_uid": ["x"], "raw_data": [""], "process_cmd_line": [""]}), query)
        try:
            connection.execute(query).fetchall()
        except duckdb.Error as error:
            return str(error).splitlines()[0]
    return ""
