"""What was done to firewall, directory and tickets, and what state that left: one SQLite file, one transaction an action.

A killed server finds either all of an action or nothing of it. Every action is kept under its key for ever.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from baton_demo.json_service import RequestRefused

PAGE = 500
State = dict[str, Any]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS actions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, part TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    answer TEXT NOT NULL, UNIQUE (part, key));
CREATE TABLE IF NOT EXISTS state (
    part TEXT NOT NULL, thing TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (part, thing));
"""


class ActionBook:
    """Actions, one per part and key, and the state of things.

    Args:
        database: SQLite file, created when missing.
    """

    def __init__(self, database: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(database, check_same_thread=False, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_SCHEMA)

    def act(self, part: str, key: str, body: State, effect: Callable[["StateSheet"], State]) -> tuple[bool, State]:
        """Carry out an action once; returns whether it is new, and the answer under this key.

        Args:
            effect: changes the sheet and returns fields of the answer; raises RequestRefused to leave all as it was.

        Raises:
            RequestRefused: 409, the key belongs to an action with another content; or what `effect` raises.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                found = self._row(part, key)
                if found is None:
                    answer = self._first(part, key, body, effect)
                elif json.loads(found[0]) != body:
                    raise RequestRefused(409, f"key {key} was used for an action with another content")
                else:
                    answer = json.loads(found[1])
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return found is None, answer

    def _first(self, part: str, key: str, body: State, effect: Callable[["StateSheet"], State]) -> State:
        insert = "INSERT INTO actions (part, key, body, answer) VALUES (?, ?, ?, '')"
        number = self._db.execute(insert, (part, key, json.dumps(body, sort_keys=True))).lastrowid
        more = effect(StateSheet(self._db, part, int(number or 0)))
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        answer = {**body, "action_id": f"{part[:1].upper()}-{number:06d}", "key": key, "at": at, **more}
        self._db.execute("UPDATE actions SET answer = ? WHERE number = ?", (json.dumps(answer), number))
        return answer

    def find(self, part: str, key: str) -> State | None:
        """The action under a key."""
        with self._lock:
            row = self._row(part, key)
        return json.loads(row[1]) if row else None

    def page(self, part: str, after: int) -> State:
        """Up to `PAGE` actions of a part with numbers above `after`, and the number to go on after."""
        statement = "SELECT number, answer FROM actions WHERE part = ? AND number > ? ORDER BY number LIMIT ?"
        with self._lock:
            rows = self._db.execute(statement, (part, after, PAGE)).fetchall()
        return {"actions": [json.loads(row[1]) for row in rows], "next": rows[-1][0] if len(rows) == PAGE else None}

    def look(self, part: str, thing: str) -> State | None:
        """State of a thing; None: nothing was ever done to it."""
        with self._lock:
            return StateSheet(self._db, part, 0).get(thing)

    def all(self, part: str) -> dict[str, State]:
        """State of every thing of a part that something was done to."""
        with self._lock:
            rows = self._db.execute("SELECT thing, value FROM state WHERE part = ? ORDER BY thing", (part,)).fetchall()
        return {thing: json.loads(value) for thing, value in rows}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _row(self, part: str, key: str) -> tuple[str, str] | None:
        query = "SELECT body, answer FROM actions WHERE part = ? AND key = ?"
        found: tuple[str, str] | None = self._db.execute(query, (part, key)).fetchone()
        return found


class StateSheet:
    """The state of a part inside the transaction of an action; `number` is the action's."""

    def __init__(self, db: sqlite3.Connection, part: str, number: int) -> None:
        self._db, self._part, self.number = db, part, number

    def get(self, thing: str) -> State | None:
        """State of a thing; None: nothing was ever done to it."""
        query = "SELECT value FROM state WHERE part = ? AND thing = ?"
        row = self._db.execute(query, (self._part, thing)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, thing: str, value: Mapping[str, Any]) -> None:
        """Keep the state of a thing."""
        statement = "INSERT OR REPLACE INTO state (part, thing, value) VALUES (?, ?, ?)"
        self._db.execute(statement, (self._part, thing, json.dumps(dict(value))))

    def newest(self, prefix: str, holds: Callable[[State], bool]) -> str | None:
        """The thing with the highest name under a prefix whose state fits."""
        query = "SELECT thing, value FROM state WHERE part = ? AND thing LIKE ? ORDER BY thing DESC"
        rows = self._db.execute(query, (self._part, f"{prefix}%")).fetchall()
        return next((thing for thing, value in rows if holds(json.loads(value))), None)
