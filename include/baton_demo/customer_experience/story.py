"""The story of customer experience that `baton demo` plays: documents and messages, models, an agent and people.

All of it is simulated and seeded (no package carries a company's mail with the truth about it); the mails and PDFs are
real files that go through the real reader, and the replies go through a real language model where a letter needs one.
"""

from typing import Any

from baton.errors import BatonError
from baton.names import monitor_of
from baton_demo.customer_experience import accounts, data
from baton_demo.customer_experience.playbook import DOCUMENTS, MESSAGES, CustomerExperiencePlaybook
from baton_demo.story import Demo

MODELS = ("document_type", "document_intent", "document_risk", "message_intent", "message_sentiment")
WATCHED = ("document_type", "message_intent")  # what the change in the world hits


def play(demo: Demo) -> dict[str, Any]:
    """Train and promote five models, play quiet hours, a bad one and a changed world; retrain; go on; count everything."""
    book = CustomerExperiencePlaybook(demo)
    quiet, shifted, later = book.hours(20, 22), book.hours(22, 24), book.hours(24)

    with demo.part("customer experience: train and promote the first five models"):
        book.train(list(MODELS))
        for model in MODELS:
            book.promote_in_airflow(model)

    with demo.part(
        "customer experience: two quiet hours, one with documents that cannot be read; people approve and decide"
    ):
        book.deliver_documents(quiet[0])
        book.deliver_documents(quiet[1], bad=8)
        for partition in quiet:
            book.deliver_messages(partition)
        book.play(quiet)
        decided = book.decide_cases(quiet)

    with demo.part(
        "customer experience: new companies and new products; outcomes arrive; the monitors ask for retraining"
    ):
        for partition in shifted:
            book.deliver_documents(partition, shifted=True, count=2 * data.DOCUMENTS)
            book.deliver_messages(partition, shifted=True, count=2 * data.MESSAGES)
        known = {model: book.known(monitor_of(model)) for model in WATCHED}
        book.play(shifted)
        book.outcomes_arrive(quiet + shifted)
        verdicts = {model: book.monitor_verdict(model, known[model]) for model in WATCHED}
        for model, verdict in verdicts.items():
            book.expect(
                verdict.get("decision") == "RETRAIN", f"the monitor of {model} must ask for retraining: {verdict}"
            )

    with demo.part("customer experience: retrain both, judge on the same texts, promote"):
        for model in WATCHED:
            book.await_training(model)
        for model in WATCHED:
            book.promote_in_airflow(model)

    with demo.part("customer experience: go on with the new champions"):
        for partition in later:
            book.deliver_documents(partition, shifted=True)
            book.deliver_messages(partition, shifted=True)
        book.play(later)

    hours = quiet + shifted + later
    summary: dict[str, Any] = {
        "flows": [DOCUMENTS, MESSAGES],
        "data": data.SAID,
        "hours": accounts.hours(book, hours),
        "right": accounts.right(book, {"quiet": quiet, "changed": shifted, "retrained": later}),
        "letters": accounts.letters(hours),
        "quarantined": {partition[:16]: book.quarantined(partition) for partition in quiet},
        "cases_decided": decided,
        "reviewed": book.reviewed,
        "monitors": verdicts,
        "mails": len(book.mails()),
    }
    check(summary)
    return summary


def check(summary: dict[str, Any]) -> None:
    """What the story promises, checked on the numbers of the warehouse.

    Raises:
        BatonError: a number is another one.
    """
    for name, shares in summary["right"].items():
        if name in WATCHED and not shares["quiet"] > shares["changed"] < shares["retrained"]:
            raise BatonError(f"demo: {name} must lose in the changed world and win by retraining: {shares}")
    if not any(summary["quarantined"].values()):
        raise BatonError(f"demo: documents that cannot be read must be in quarantine: {summary['quarantined']}")
    wanted = sum(row["sent"] for row in summary["hours"])
    wanted += sum(summary["cases_decided"].get(answer, 0) for answer in ("accepted", "edited"))  # suggestions
    if summary["mails"] != wanted:
        raise BatonError(f"demo: {wanted} answers were decided and {summary['mails']} left")


def show(summary: dict[str, Any]) -> list[Any]:
    """The summary for people: a table of the hours, then sentences."""
    columns = ["hour (UTC)", "documents", "filed", "answered", "approved", "escalated", "unreadable", "messages", "sent",
               "suggested", "escalated", "models"]  # fmt: skip
    rows = [
        [row["partition"][:16].replace("T", " "), *(str(row[name]) for name in (
            "documents", "file", "answered", "approve", "escalate", "quarantined", "messages", "send", "suggest", "escalated")),
         row["models"]]
        for row in summary["hours"]
    ]  # fmt: skip
    lines = [
        f"{name}: right in the quiet hours {shares['quiet']:.1%}, in the changed world {shares['changed']:.1%}, "
        f"after retraining {shares['retrained']:.1%}"
        for name, shares in summary["right"].items()
    ]
    written = ", ".join(f"{count} by {who}" for who, count in summary["letters"].items())
    lines.append(f"letters: {written}; {summary['mails']} mails left, each once, into the file outbox")
    bad = {rule: count for rules in summary["quarantined"].values() for rule, count in rules.items()}
    lines.append("quarantine: " + ", ".join(f"{count} {rule}" for rule, count in sorted(bad.items())))
    lines.append("people: " + ", ".join(f"{count} {answer}" for answer, count in summary["cases_decided"].items())
                 + f"; {sum(one['asked'] for one in summary['reviewed'])} answers approved, "
                 f"{len(summary['reviewed'])} of them changed")  # fmt: skip
    for model, verdict in summary["monitors"].items():
        lines.append(f"monitor of {model}: {verdict['decision']}: " + "; ".join(verdict["reasons"]))
    return [{"columns": columns, "rows": rows}, *lines]
