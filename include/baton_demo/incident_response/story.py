"""The story of incident response that `baton demo` plays: an hour with three attacks, found, judged, stopped, and one undone.

The company, its events and its attackers are simulated and seeded. The requests to firewall, directory and tickets are real ones,
to servers on this machine that keep their state in a file; the hour is recorded, so that nobody in it sees what was blocked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from baton.names import INGEST, ingest_of
from baton_demo.incident_response import accounts, company, data
from baton_demo.incident_response.playbook import (
    APPROVED,
    FIRST,
    FLOW,
    MODELS,
    REFUSED,
    SECOND,
    IncidentResponsePlaybook,
    Vote,
    agree,
    slots,
)
from baton_demo.incident_response.simulation import attacks

if TYPE_CHECKING:
    from baton.actions.requests import Request
    from baton_demo.incident_response.people import People
    from baton_demo.story import Demo

STAGES = {"events": INGEST, "connections": ingest_of("connections"), "alerts": "alerts", "decide": "decide"}
FIRST_SLOT, BAD, ENTERED, STOPPED, BROKEN, HEALED = 1, 2, 3, 4, 5, 6  # numbers of five minutes of the hour
BROKEN_PART = "reputation"


def play(demo: Demo, people: People | None = None) -> dict[str, Any]:
    """Train; play the hour: passwords guessed, hosts taken, a dependency broken, data leaking, a scanner; people decide; one undo."""
    book = IncidentResponsePlaybook(demo, people)
    partitions = slots(FIRST_SLOT, HEALED + 1)
    at = dict(enumerate(partitions, FIRST_SLOT))

    with demo.part("incident response: train and promote the first two models"):
        book.train(list(MODELS))
        book.promote_in_airflow(MODELS[0])
        book.promote_in_registry(MODELS[1])

    with demo.part(
        "incident response: passwords are guessed; rows that nobody can read; the address is blocked by itself"
    ):
        planted = book.deliver_bad_events(at[BAD])
        book.play([at[FIRST_SLOT], at[BAD]], cautious)

    with demo.part("incident response: one password fits; two people are asked, and one says no to one thing"):
        book.play([at[ENTERED]], cautious)

    with demo.part("incident response: all effects are stopped while it goes on to a server, then begin again"):
        stopped = stop_and_start(book, at[STOPPED])

    with demo.part("incident response: data leak, while the reputation service is down; then it is well again"):
        book.security.switch(BROKEN_PART, "down")
        book.play([at[BROKEN]], cautious)
        book.security.switch(BROKEN_PART, "none")
        book.play([at[HEALED]], cautious)

    with demo.part("incident response: one action is taken back"):
        undone = undo_one(book)

    summary: dict[str, Any] = {
        "flow": FLOW,
        "data": data.SAID,
        "partitions": accounts.partition_table(partitions, STAGES),
        "incidents": accounts.incidents(partitions, STAGES["decide"]),
        "votes": book.votes,
        "planted": len(planted),
        "stopped": stopped,
        "undone": undone,
        "broken": {"part": BROKEN_PART, "partition": at[BROKEN],
                   "degraded": accounts.degraded(at[BROKEN]),
                   "after": accounts.degraded(at[HEALED])},
        "world": {"blocked": book.security.blocked(), "isolated": book.security.isolated(),
                  "tickets": len(book.security.actions("tickets"))},
        "models": accounts.champions(),
    }  # fmt: skip
    check(summary, book)
    return summary


def cautious(request: Request) -> list[Vote]:
    """The people of the story agree, but to one thing: the jump host stays, or nobody could repair anything."""
    if request.kind == "isolate_host" and request.target == company.JUMP:
        return [Vote(SECOND, REFUSED, "the administrators need it to repair the others")]
    return agree(request)


def stop_and_start(book: IncidentResponsePlaybook, partition: str) -> dict[str, Any]:
    """The kill switch: a partition is judged, people agree, and nothing leaves; once it is off, a repeated run sends it."""
    before = len(book.carried_out())
    book.stop("the firewall is being replaced")
    book.play([partition], cautious)
    during = len(book.carried_out()) - before
    book.start()
    book.play([partition], cautious)
    return {"partition": partition, "during": during, "after": len(book.carried_out()) - before}


def undo_one(book: IncidentResponsePlaybook) -> dict[str, Any]:
    """Isolating the desk that leaked is taken back: the person is back from holiday, and the disk is copied."""
    host = attacks.LEAKING_DESK
    book.expect(bool(book.sent("isolate_host", host)), f"{host} must have been isolated")
    effect = book.sent("isolate_host", host)[0]
    book.expect(bool(book.security.get(f"/directory/hosts/{host}")["isolated"]), f"{host} must be isolated")
    book.take_back(effect)
    book.expect(not book.security.get(f"/directory/hosts/{host}")["isolated"], f"{host} must be back")
    return {"action": effect.kind, "target": host, "key": effect.key}


def check(summary: dict[str, Any], book: IncidentResponsePlaybook) -> None:
    """What the story promises, checked on the numbers of the warehouse and the servers' own state.

    Raises:
        BatonError: a number is another one.
    """
    found = {kind: one for one in summary["incidents"] for kind in one["really"] if one["route"] == "contain"}
    for kind in (attacks.BRUTE_FORCE, attacks.LATERAL_MOVEMENT, attacks.EXFILTRATION):
        book.expect(kind in found, f"{kind} must be an incident that is contained: {list(found)}")
    same = found[attacks.BRUTE_FORCE]["incident"] == found[attacks.LATERAL_MOVEMENT]["incident"]
    book.expect(same, "guessing and moving on must be one incident")
    for kind in (attacks.BRUTE_FORCE, attacks.LATERAL_MOVEMENT, attacks.EXFILTRATION):
        of_it = [one["incident"] for one in summary["incidents"] if one["route"] == "contain" and kind in one["really"]]
        book.expect(len(of_it) == 1, f"{kind} must be one incident: {of_it}")
    other = found[attacks.EXFILTRATION]["incident"] != found[attacks.BRUTE_FORCE]["incident"]
    book.expect(other, "what leaks has nothing to do with the guessing, and must be an incident of its own")
    contained = {kind for one in summary["incidents"] if one["route"] == "contain" for kind in one["really"]}
    book.expect(attacks.SCANNER not in contained, f"the scanner is noise: {summary['incidents']}")
    world = summary["world"]
    book.expect(company.ATTACKER in world["blocked"], f"the attacker's address must be blocked: {world}")
    book.expect(company.EXFILTRATED_TO in world["blocked"], f"where the data went must be blocked: {world}")
    book.expect(company.DATABASE in world["isolated"], f"the database's host must be isolated: {world}")
    book.expect(company.JUMP not in world["isolated"], f"the jump host must not be isolated: {world}")
    voted = {(one["action"], one["target"], one["person"]) for one in summary["votes"] if one["answer"] == APPROVED}
    two = {("isolate_host", company.DATABASE, person) for person in (FIRST, SECOND)}
    book.expect(two <= voted, f"two people must have agreed to isolate {company.DATABASE}: {voted}")
    book.expect(bool(summary["broken"]["degraded"]), "a service that is down must be named")
    once = [(one["action"], one["target"]) for one in book.carried_out() if one["action"] != "open_ticket"]
    book.expect(len(once) == len(set(once)), f"each action is carried out once: {once}")
    stopped = summary["stopped"]
    book.expect(stopped["during"] == 0 < stopped["after"], f"effects wait while all are stopped, then go: {stopped}")


def show(summary: dict[str, Any]) -> list[Any]:
    """The summary for people: tables of partitions and incidents, then sentences."""
    columns = ["five minutes (UTC)", "events", "connections", "put aside", "alerts", "contain", "watch", "noise", "effects sent",
               "refused", "degraded", "models"]  # fmt: skip
    rows = [
        [row["partition"][:16].replace("T", " "), f"{row['events']:,}", f"{row['connections']:,}",
         *(str(row[name] or "") for name in ("aside", "alerts", "contain", "watch", "noise", "sent", "refused")),
         str(len(row["degraded"]) or ""), " ".join(f"v{version}" for version in row["models"].values() if version)]
        for row in summary["partitions"]
    ]  # fmt: skip
    incidents = [
        [one["title"], one["route"], one["playbook"], str(one["alerts"]), ", ".join(one["hosts"][:4]), ", ".join(one["really"]) or "everyday"]
        for one in summary["incidents"] if one["route"] == "contain" or one["really"]
    ]  # fmt: skip
    votes, world = summary["votes"], summary["world"]
    refused = [one for one in votes if one["answer"] == REFUSED]
    asked = len({one["request"] for one in votes})
    quiet = sum(one["route"] != "contain" and not one["really"] for one in summary["incidents"])
    return [
        {"columns": columns, "rows": rows},
        {"columns": ["incident", "route", "playbook", "alerts", "hosts", "what it really was"], "rows": incidents},
        f"{quiet} more incidents were watched, or noise",
        f"people: {asked} requests, {len(votes)} votes of {len({one['person'] for one in votes})} people; refused: "
        + "; ".join(f"{one['action']} of {one['target']}" for one in refused),
        f"the world now: blocked {', '.join(world['blocked'])}; isolated {', '.join(world['isolated'])}; {world['tickets']} ticket actions",
        f"{summary['broken']['part']} was down: " + "; ".join(summary["broken"]["degraded"][:2]),
        f"all effects were stopped for one partition: {summary['stopped']['during']} left, {summary['stopped']['after']} after the start",
        f"taken back: {summary['undone']['action']} of {summary['undone']['target']}, through the same firewall",
    ]
