"""The firewall on both databases: what the unit tests of its rooms say, and what only shows where writers do not take turns.

On SQLite one transaction writes at a time; on Postgres two may look before either commits. Each race runs on both.
"""

from __future__ import annotations

import runpy
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from baton.actions import promotions, requests, switch
from baton.actions.votes import Voter
from baton.effects import attempts, firewall, outbox
from baton.effects.attempts import Kept
from baton.effects.outbox import PENDING, WAITING, Effect
from baton.errors import BatonError
from baton.feedback import cases
from baton.governance.limits import EVERYWHERE
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.usage import budgets
from baton.usage.used import Consumer

UNIT = Path(__file__).parents[1] / "unit"
ON_BOTH = ("actions/test_firewall", "actions/test_matrix", "effects/test_outbox", "effects/test_delivery", "lookups/test_records",
           "incident_response/test_beside")  # fmt: skip
OF: dict[str, dict[str, Any]] = {name: runpy.run_path(str(UNIT / f"{name}.py")) for name in ON_BOTH}
FIREWALL, BESIDE = OF["actions/test_firewall"], OF["incident_response/test_beside"]
for _file, _of in OF.items():  # each as a test of this module, where `home` has its warehouse on the server
    _prefix = f"test_on_postgres_{_file.rpartition('/')[2].removeprefix('test_')}"
    globals().update({name.replace("test", _prefix, 1): one for name, one in _of.items() if name.startswith("test_")})
DISCARDS, GRANTS = (
    runpy.run_path(str(UNIT / f"{name}.py")) for name in ("quarantine/test_discards", "actions/test_grants")
)
pack, _frames, hundred = FIREWALL["pack"], BESIDE["_frames"], DISCARDS["hundred"]
FLOW, OTHER, block, place, states = (FIREWALL[name] for name in ("FLOW", "OTHER", "block", "place", "states"))


@pytest.fixture(scope="module")
def server(postgres: Any) -> str:
    """A server whose tables were made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATON_WAREHOUSE_URL", postgres.url)
        settings.cache_clear()
        warehouse.migrate()
    return str(postgres.url)


@pytest.fixture(params=["postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A warehouse on the server, emptied; races ask for SQLite as well."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("BATON_HOME", str(folder))
    if request.param == "postgres":
        monkeypatch.setenv("BATON_WAREHOUSE_URL", request.getfixturevalue("server"))
    settings.cache_clear()
    warehouse.migrate()
    if request.param == "postgres":
        with warehouse.write() as conn:
            conn.execute(sa.text(f"truncate {', '.join(tables.metadata.tables)} restart identity"))
    yield folder
    warehouse.engine().dispose()


@pytest.fixture(autouse=True)
def _in(home: Path) -> None:
    """Every test has its own warehouse."""


BOTH = pytest.mark.parametrize("home", ["sqlite", "postgres"], indirect=True)


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """What each gives that starts at the same moment as the others: its result, or its error."""
    gate, found = threading.Barrier(len(work)), [None] * len(work)

    def one(number: int) -> None:
        gate.wait(20)
        try:
            found[number] = work[number]()
        except BatonError as error:
            found[number] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def asked() -> requests.Request:
    (one,) = requests.still_open()
    return one


def vote(person: str, answer: str = "approved") -> Callable[[], Any]:
    """Their word on the only request there is, as it is shown now."""
    one = asked()
    return lambda: firewall.vote(one.id, Voter(person), answer, one.seen)


def claim(effect: Effect) -> Callable[[], Any]:
    return lambda: attempts.claim(effect, lease=60)


def permits() -> list[Any]:
    with warehouse.read() as conn:
        return list(conn.execute(sa.select(tables.permits)))


def kinds() -> Counter[str]:
    return Counter(one.kind for one in ledger.entries(limit=1000))


@BOTH
def test_of_racing_claims_one_begins_and_uses_the_permit(pack: Path) -> None:
    place(pack, block())
    (effect,) = outbox.effects(FLOW)
    won = [one for one in at_once(*[claim(effect)] * 4) if one is not None]
    assert [one.attempts for one in won] == [1]
    assert [one.used_by for one in permits()] == [effect.key]
    assert kinds()["permit_used"] == 1


@BOTH
def test_of_two_effects_on_one_target_one_begins(pack: Path) -> None:
    place(pack, block())
    place(pack, block(entity="j9"), flow=OTHER)
    found = at_once(*[claim(one) for flow in (FLOW, OTHER) for one in outbox.effects(flow)])
    assert sorted(type(one).__name__ for one in found) == ["Effect", "Kept"]
    assert [one.why for one in found if isinstance(one, Kept)] == ["busy"]


@BOTH
def test_the_same_plan_again_beside_a_vote_does_not_undo_it(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(pack, block(confidence=0.1))
    again = threading.Thread(target=place, args=(pack, block(confidence=0.1)))

    def meanwhile(point: str) -> None:
        if point == "voted":
            again.start()
            again.join(0.3)

    monkeypatch.setattr(firewall, "FAULT", meanwhile)
    assert vote("ann")().state == "approved"
    again.join(20)
    assert not again.is_alive()
    assert (len(permits()), states()) == (1, {"block 203.0.113.7": PENDING})


@BOTH
def test_nothing_begins_once_the_switch_has_stopped_all(pack: Path) -> None:
    place(pack, *[block(f"203.0.113.{n}") for n in range(2)])
    ends: list[str] = []

    def stop() -> None:
        switch.stop("ann", "drill")
        ends.append(warehouse.now())

    found = at_once(*[claim(one) for one in outbox.effects(FLOW)], stop)
    begun = [one for one in found if isinstance(one, Effect)]
    with warehouse.read() as conn:
        table = tables.permits
        assert all(at <= ends[0] for at in conn.scalars(sa.select(table.c.used_at).where(table.c.used_at.is_not(None))))
    assert [one.why for one in found[:2] if isinstance(one, Kept)] == ["stopped"] * (2 - len(begun))
    rest = [attempts.claim(one, lease=60) for one in outbox.effects(FLOW) if one.state == PENDING]
    assert [one.why for one in rest if isinstance(one, Kept)] == ["stopped"] * len(rest)


@BOTH
def test_of_two_who_agree_at_once_the_second_one_completes_it(pack: Path) -> None:
    place(pack, FIREWALL["Action"]("wipe", "i1", "srv-db", {}))
    words = at_once(vote("ann"), vote("bob"))
    assert sorted(one.state for one in words) == ["approved", "open"]
    assert (len(permits()), states()) == (1, {"wipe srv-db": PENDING})


@BOTH
def test_one_person_twice_at_once_is_one_person(pack: Path) -> None:
    place(pack, FIREWALL["Action"]("wipe", "i1", "srv-db", {}))
    words = at_once(vote("ann"), vote("ANN"), vote("Ann "))
    assert sum("another person is needed" in str(one) for one in words) == 2
    assert (permits(), states()) == ([], {"wipe srv-db": WAITING})


@BOTH
def test_of_a_yes_and_a_no_at_once_one_counts(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    words = at_once(vote("ann"), vote("bob", "refused"))
    (said,) = [str(one) for one in words if isinstance(one, BatonError)]
    assert "nothing is left to answer" in said
    assert len(permits()) == (states() == {"block 203.0.113.7": PENDING})


@BOTH
def test_a_case_closed_at_the_moment_of_the_vote_takes_the_permit_back(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    with warehouse.write() as conn:
        conn.execute(tables.cases.insert().values(
            flow=FLOW, entity_key="i1", partition=FIREWALL["PART"], route="contain", risk=1.0, status="open", opened_at="1",
            updated_at="1", resolutions={"false_positive": {}},
        ))  # fmt: skip
    at_once(vote("ann"), lambda: cases.decide(FLOW, "i1", "false_positive", "bob"))
    assert states() == {"block 203.0.113.7": "withdrawn"}
    assert [one.void_why for one in permits()] in ([], ["its case was closed: false_positive"])


@BOTH
def test_a_vote_at_the_moment_of_the_end_counts_or_does_not(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    word = vote("ann")
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(expires_at=warehouse.now()))
    said, swept = at_once(word, firewall.sweep)
    assert isinstance(said, BatonError)
    assert ([one.id for one in swept], states(), permits()) == ([1], {"block 203.0.113.7": "withdrawn"}, [])


@BOTH
def test_flows_that_place_at_once_share_the_cap(pack: Path) -> None:
    def one(number: int) -> Callable[[], Any]:
        return lambda: place(pack, block(f"203.0.113.{number}"), flow=f"flow_{number}")

    placed = at_once(*[one(number) for number in range(4)])
    assert Counter(level for done in placed for level in done.levels) == {"notify": 2, "one_approver": 2}


@BOTH
def test_who_asks_at_once_to_take_back_asks_once(pack: Path) -> None:
    place(pack, block())
    FIREWALL["send"](FIREWALL["Peer"]())
    (effect,) = outbox.effects(FLOW)
    found = at_once(*[lambda by=by: firewall.take_back(effect.key, by) for by in ("ann", "bob")])
    assert found[0].key == found[1].key
    assert len(outbox.effects(FLOW)) == 2


@BOTH
@pytest.mark.usefixtures("_frames")
def test_partitions_side_by_side_open_one_incident() -> None:
    one, other = BESIDE["FIRST"], BESIDE["SECOND"]
    found = at_once(
        lambda: BESIDE["correlated"](BESIDE["EARLY"], one), lambda: BESIDE["correlated"](BESIDE["LATE"], other)
    )
    assert BESIDE["ids"](found[0]) == BESIDE["ids"](found[1])


@pytest.fixture
def everywhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Writes the limit of the installation's budget."""
    monkeypatch.setenv("BATON_BUDGETS", str(home / "budgets.yaml"))
    settings.cache_clear()

    def write(limit: int) -> None:
        (home / "budgets.yaml").write_text(f"of_all: {{period: day, unit: calls, limit: {limit}}}\n")

    return write


def _consumer(number: int) -> Consumer:
    return Consumer("incident_response", "incident_flow", "advise", f"p{number}")


def _all() -> list[budgets.BudgetState]:
    return [one for one in budgets.states() if one.budget.pack == EVERYWHERE]


@BOTH
def test_stages_side_by_side_ask_once_about_a_raise_and_use_its_permit_once(everywhere: Callable[[int], None]) -> None:
    def stage(number: int) -> int:
        hold = budgets.reserve(_consumer(number), "large", {"large": {"calls": 1}}, 1000, 60)
        hold.end({})
        return sum(many for _, many in hold.plan)

    everywhere(5)
    assert stage(0) == 5
    everywhere(9)
    assert max(at_once(*[partial(stage, number) for number in range(12)])) <= 5
    for person in ("ann", "bob"):
        vote(person)()
    at_once(*[partial(stage, number) for number in range(12)])
    assert stage(0) == 9
    assert [len(ledger.entries(kind=kind)) for kind in ("action_requested", "permit_used")] == [1, 1]
    assert [entry.payload["limit"] for entry in ledger.entries(kind="budget_changed")] == [9, 5]


@BOTH
def test_fifty_stages_side_by_side_take_no_more_than_a_budget_has(everywhere: Callable[[int], None]) -> None:
    everywhere(100)

    def stage(number: int) -> tuple[int, float]:
        hold = budgets.reserve(_consumer(number), "large", {"large": {"calls": 1}}, 3, 60)
        (seen,) = _all()
        hold.end({"calls": len(hold.plan)})  # of up to three cases it asked about one
        return len(hold.plan), seen.used + seen.held

    found = at_once(*[partial(stage, number) for number in range(50)])
    assert max(taken for _, taken in found) <= 100
    (left,) = _all()
    assert (left.used, left.held) == (sum(asked for asked, _ in found), 0)
    assert left.used >= 34, "a hundred is enough for three cases each of so many"


@BOTH
@pytest.mark.usefixtures("hundred")
def test_two_flows_that_discard_at_once_give_up_no_more_than_the_share() -> None:
    discard = DISCARDS["discard"]
    found = at_once(partial(discard, 1, 2, 3), partial(discard, 4, 5, 6, flow=DISCARDS["OTHER"]))
    assert sorted(str(one)[:21] for one in found) == ["3", "nothing was discarded"]
    assert (DISCARDS["gone"](), kinds()["action_requested"]) == (3, 1)


@BOTH
@pytest.mark.usefixtures("hundred")
def test_the_same_discard_at_once_asks_once_and_uses_its_permit_once() -> None:
    same = partial(DISCARDS["discard"], *range(1, 11))
    assert all("request 1 waits" in str(one) for one in at_once(*[same] * 4))
    vote("bob")()
    assert sum(one == 10 for one in at_once(*[same] * 4)) == 1
    assert [kinds()[kind] for kind in ("action_requested", "permit_used", "rows_discarded")] == [1, 1, 1]


@BOTH
def test_a_grant_that_is_ended_at_the_moment_of_the_vote_is_over() -> None:
    made = GRANTS["grant"]()
    word = vote("bob")
    end = partial(promotions.end_grant, number=made.id, by=GRANTS["OWNER"], reason="a mistake")
    at_once(word, lambda: warehouse.transact(end))
    assert not GRANTS["stands"](made.id).holds(warehouse.now())
    assert (kinds()["grant_ended"], kinds()["grant_agreed"]) in ((1, 0), (1, 1))
    assert requests.still_open() == []
