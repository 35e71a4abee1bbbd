"""Looking values up: each distinct one once, from the cache while it is fresh, else asked, else the cache however old.

What a tool does never raises here: a value without an answer says so. All of it ends within the tool's budget, because
questions wait for nothing but their turn, their own time limit and the budget; a tool that fails is soon left in peace.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from baton.endpoint import Endpoint
from baton.lookups import cache
from baton.lookups.bucket import Bucket
from baton.lookups.cache import Cached
from baton.lookups.client import ToolClient, ToolReply, unaskable
from baton.lookups.guard import Guard, Leave
from baton.progress import duration, told
from baton.settings import settings
from baton.specs.tool import ToolSpec

_KEPT_AT_ONCE = 500  # answers: whoever tries again after a crash asks for no more than these
LIVE, CACHED, STALE, MISSING = "live", "cached", "stale", "missing"


@dataclass(frozen=True)
class LookedUp:
    """What is known of a value: source live, cached, stale or missing; known None where there is no answer; age in seconds."""

    value: str
    source: Literal["live", "cached", "stale", "missing"]
    known: bool | None = None
    answer: dict[str, Any] | None = None
    age: float | None = None


@dataclass
class Outcomes:
    """What looking up came to: a row for each distinct value, in the order of the values; problems and how often each."""

    rows: list[LookedUp] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    def facts(self, tool: ToolSpec) -> dict[str, Any]:
        """For the stage: tool, values, asked, counts by source, unknown, and `degraded` where something is not fresh."""
        by: Counter[str] = Counter(row.source for row in self.rows)
        counts: dict[str, Any] = {source: by[source] for source in (LIVE, CACHED, STALE, MISSING)}
        unknown = sum(row.known is False for row in self.rows)
        found = {"tool": tool.name, "values": len(self.rows), "asked": self.asked, **counts, "unknown": unknown}
        return found | ({"degraded": [self.sentence(tool)]} if by[STALE] or by[MISSING] else {})

    def sentence(self, tool: ToolSpec) -> str:
        """What is not fresh, and why; without values."""
        stale = [row.age or 0.0 for row in self.rows if row.source == STALE]
        missing = sum(row.source == MISSING for row in self.rows)
        why = "; ".join(f"{problem} ({count:,})" for problem, count in self.problems.most_common(5))
        parts = [f"{len(stale):,} are from the cache, the oldest of {duration(max(stale))} ago"] if stale else []
        parts += [f"{missing:,} have no answer"] if missing else []
        return f"tool {tool.name}: of {len(self.rows):,} values {' and '.join(parts)}: {why}"


def look_up(tool: ToolSpec, key: str, values: Iterable[str], connect: Callable[[], Endpoint]) -> Outcomes:
    """Look every distinct value up.

    Args:
        key: `<pack>/<tool>`: whose cache and breaker.
        connect: address and log-in of the tool; called when something has to be asked.
    """
    distinct = list(dict.fromkeys(values))
    begun = datetime.now(UTC)
    held = cache.find(key, tool, distinct, begun)
    odd = {value for value in distinct if value not in held and unaskable(value)}
    fresh = {value for value, one in held.items() if one.age < tool.ttl_seconds}
    asking = _Asking(tool, key)
    asking.ask([value for value in distinct if value not in fresh and value not in odd], connect)
    if odd:
        asking.problems["not asked: no text that may stand in an address"] += len(odd)
    rows = [_row(value, asking.heard.get(value), held.get(value), value in fresh) for value in distinct]
    return Outcomes(rows, asking.problems, asking.asked)


def _row(value: str, heard: ToolReply | None, held: Cached | None, fresh: bool) -> LookedUp:
    if heard is not None and heard.known is not None:
        return LookedUp(value, "live", heard.known, heard.answer, 0.0)
    if held is not None:
        return LookedUp(value, "cached" if fresh else "stale", held.answer is not None, held.answer, held.age)
    return LookedUp(value, "missing")


class _Asking:
    """The questions of one stage to one tool."""

    def __init__(self, tool: ToolSpec, key: str) -> None:
        self.tool, self.key = tool, key
        self.heard: dict[str, ToolReply] = {}
        self.problems: Counter[str] = Counter()
        self.asked = 0
        self._fresh: dict[str, dict[str, Any] | None] = {}  # answers that the cache does not have yet
        self._until = time.monotonic() + tool.budget_seconds
        self._bucket = Bucket(
            settings().home / "rates" / hashlib.sha256(key.encode()).hexdigest()[:32], tool.per_second
        )
        self._over = threading.Event()

    def ask(self, values: list[str], connect: Callable[[], Endpoint]) -> None:
        if not values:
            return
        guard = Guard(self.key, self.tool)
        first = guard.leave()
        if first is None:
            self.problems[_in_peace(guard)] += len(values)
            return
        client = self._connected(connect, guard, first)
        if isinstance(client, str):
            self.problems[client] += len(values)
            return
        with client:
            try:
                self._ask_all(client, guard, values, first)
            finally:
                self._over.set()  # a task that is ended does not ask on
                self._keep()
                guard.settle()

    def _connected(self, connect: Callable[[], Endpoint], guard: Guard, leave: Leave) -> ToolClient | str:
        """The client, or why there is none: then nobody is asked, which tells nothing about the tool."""
        try:
            return ToolClient(self.tool, connect())
        except Exception as error:  # whatever a connection lacks: Airflow's own errors are not known here
            if leave == "probe":
                guard.failed(leave, "its connection cannot be used")
            return f"connection {self.tool.conn_id} cannot be used: {type(error).__name__}: {str(error)[:200]}"

    def _ask_all(self, client: ToolClient, guard: Guard, values: list[str], first: Leave) -> None:
        rest = values
        if first == "probe":  # the others wait for what comes of it
            self._take(values[0], self._question(client, guard, values[0], first))
            rest = values[1:]

        def one(value: str) -> ToolReply:
            if self._over.is_set():
                return ToolReply(problem="not asked: the task was ended")
            leave = guard.leave()
            if leave is None:
                return ToolReply(problem=_in_peace(guard))
            return self._question(client, guard, value, leave)

        with ThreadPoolExecutor(self.tool.at_once, thread_name_prefix=f"look-up-{self.tool.name}") as pool:
            try:
                under_way = {pool.submit(one, value): value for value in rest}
                for done in told(as_completed(under_way), f"{self.tool.name} looked up", "values", len(rest)):
                    self._take(under_way[done], done.result())
            finally:
                self._over.set()

    def _question(self, client: ToolClient, guard: Guard, value: str, leave: Leave) -> ToolReply:
        left = self._until - time.monotonic()
        if left <= 0 or not self._bucket.take(self._until):
            if leave == "probe":
                guard.failed(leave, "there was no time to ask")
            return ToolReply(problem=f"not asked: the {self.tool.budget_seconds:g} s for all questions were over")
        reply = client.ask(value, min(self.tool.timeout_seconds, left))
        if reply.known is not None or reply.of_value:
            guard.answered(leave)
        else:
            guard.failed(leave, reply.problem)
        return reply

    def _take(self, value: str, reply: ToolReply) -> None:
        self.asked += reply.seconds > 0
        if reply.known is None:
            self.problems[reply.problem] += 1
            return
        self.heard[value] = reply
        self._fresh[value] = reply.answer
        if len(self._fresh) >= _KEPT_AT_ONCE:
            self._keep()

    def _keep(self) -> None:
        cache.keep(self.key, self.tool, self._fresh, datetime.now(UTC))
        self._fresh = {}


def _in_peace(guard: Guard) -> str:
    breaker = guard.breaker
    since = f"{breaker.opened_at:%Y-%m-%d %H:%M:%S} UTC" if breaker.opened_at else "a moment ago"
    return f"not asked: its breaker is open since {since} ({breaker.error})"
