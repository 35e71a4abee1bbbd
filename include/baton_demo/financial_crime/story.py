"""The story of financial crime that `baton demo` plays on the real card transactions.

What is real: all transactions, amounts and labels. What is simulated, seeded and said in the summary: the planted bad
rows, the unit error, the shift of the card network's components, the delay of the labels, the analysts' decisions.
"""

from typing import Any

from baton.errors import BatonError
from baton_demo.financial_crime.accounts import MODEL
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook
from baton_demo.story import Demo


def play(demo: Demo) -> dict[str, Any]:
    """Train, promote, score 15 hours with bad rows, a unit error, late labels and a shift; retrain; count everything."""
    book = FinancialCrimePlaybook(demo)
    quiet, bad, cents, shifted, later = (
        book.hours(33, 37),
        book.hours(34)[0],
        book.hours(35)[0],
        book.hours(37, 43),
        book.hours(43, 48),
    )

    with demo.part("train and promote the first champions"):
        book.train([MODEL, "transaction_anomaly"])
        book.promote_in_airflow(MODEL)
        book.promote_in_registry("transaction_anomaly")

    with demo.part("score the first four hours; bad rows and a unit error arrive"):
        planted = book.deliver_bad_rows(bad)
        book.deliver_cents(cents)
        states = book.run_hours(quiet)
        book.expect(states.pop(cents) == "failed", "the hour in cents must stop at its contract")
        book.expect(set(states.values()) == {"success"}, f"the other hours must go through, found {states}")

    with demo.part("repair, discard, re-inject"):
        quarantined = book.repair_bad_rows(bad, planted)
        book.repair_cents(cents)

    with demo.part("analysts decide cases"):
        decided = book.decide_cases(quiet)

    with demo.part("the network's components shift; labels arrive late; the monitor wakes training"):
        book.deliver_shift(shifted + later)
        book.expect_all(book.run_hours(shifted))
        drift = book.labels_arrive(quiet + shifted, at=shifted[-1])
        book.expect(drift["decision"] == "RETRAIN", f"the monitor must ask for retraining, it says {drift}")

    with demo.part("retrain, judge on recent labelled rows, promote"):
        book.await_training(MODEL)
        book.promote_in_airflow(MODEL)

    with demo.part("score the last five hours with the new champion"):
        book.expect_all(book.run_hours(later))

    summary = book.summary(quiet, shifted, later)
    summary |= {"quarantined": quarantined, "cases_decided": decided, "monitor": drift}
    check(summary, book)
    return summary


def check(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    """What the story promises, checked on the numbers of the warehouse and the registry.

    Raises:
        BatonError: a number is another one.
    """
    for row in summary["partitions"]:
        if row["superseded"] or row["rows_in"] != row["published"] + row["open"] + row["discarded"]:
            raise BatonError(f"partition {row['partition']}: rows in {row['rows_in']} are not all accounted for: {row}")
    metric = summary["average_precision"]
    book.expect(
        metric["before the shift"] - metric["after the shift, old champion"] >= 0.3,
        f"the shift must cost >= 0.3: {metric}",
    )
    book.expect(
        metric["after the shift, new champion"] > metric["after the shift, old champion"],
        f"retraining must help: {metric}",
    )
    versions = {row["partition"]: row["models"][MODEL] for row in summary["partitions"]}
    book.expect(len(set(versions.values())) == 2, f"two versions of {MODEL} must have scored: {versions}")


def show(summary: dict[str, Any]) -> list[Any]:
    """The summary for people: a table of the partitions, then sentences."""
    rows = summary["partitions"]
    counted = ("rows_in", "published", "open", "discarded")
    routes = sorted({route for row in rows for route in row["routes"]})
    models = sorted({model for row in rows for model in row["models"]})

    def numbers(row: dict[str, Any]) -> list[str]:
        return [f"{row[c]:,}" for c in counted] + [f"{row['routes'].get(r, 0):,}" for r in routes]

    whole = {c: sum(row[c] for row in rows) for c in counted}
    whole["routes"] = {r: sum(row["routes"].get(r, 0) for row in rows) for r in routes}
    table = {
        "columns": ["partition (UTC)", *(c.replace("_", " ") for c in counted), *routes, *models],
        "rows": [
            [row["partition"][:16].replace("T", " "), *numbers(row), *(f"v{row['models'][m]}" for m in models)]
            for row in rows
        ],
        "sums": ["all", *numbers(whole), *[""] * len(models)],
    }
    lines = [
        "average precision: " + ", ".join(f"{when} {value:.3f}" for when, value in summary["average_precision"].items())
    ]
    lines += [f"model {m['model']} version {m['version']} {' '.join(m['aliases'])}" for m in summary["models"]]
    for window in summary["drift"]:
        if window["features"]:
            moved = ", ".join(f"{feature} {effect:g}" for feature, effect in list(window["features"].items())[:6])
            lines.append(f"drift in {window['partition']} (against version {window['version']}): {moved}")
    lines.append("cases: " + ", ".join(f"{number} {status}" for status, number in summary["cases"].items()))
    return [table, *lines]
