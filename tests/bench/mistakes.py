"""Sixty-six plausible mistakes of a newcomer, each with what the message must say: the place, the reason, what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MODEL, INCOMING, SOURCES, FLOW = (
    "shop/baton_shop/models/returned.yaml", "shop/baton_shop/contracts/returned_rows.yaml", "shop/baton_shop/sources.yaml",
    "dags/shop_returned.py",
)  # fmt: skip
DAY, NEXT = "2026-01-05T00:00:00", "2026-01-06T00:00:00"


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        what: in words.
        file: what is edited, below the project; empty: nothing.
        old, new: the edit; `old` stands in the file once. A callable makes the file's new text.
        then: lint, read, check, try or a command line of `baton`.
        says: what the message must hold, in whatever case: place, reason, remedy.
    """

    what: str
    file: str
    old: str
    new: str | Callable[[str], str]
    then: str
    says: tuple[str, ...]


def _row(number: int, **cells: str) -> str:
    known = {"order_no": str(9000 + number), "customer_name": "Ann Example", "ordered_at": f"2026-01-05T{number:02d}:00:00Z",
             "channel": "web", "price": "20.5", "days": "3"}  # fmt: skip
    return ",".join({**known, **cells}.values())


HEADER = "order_no,customer_name,ordered_at,channel,price,days"
DELIVERY = "\n".join([HEADER, *map(_row, range(20))]) + "\n"
LANDED = "home/landing/shop/2026-01-05T00-00-00.csv"


def delivered(text: str) -> Callable[[str], str]:
    """The delivery of a day as this text."""
    return lambda _: text


MISTAKES = [
    # --- the model's YAML ---
    Mistake("a key misspelt", MODEL, "features:", "feature:", "lint", ("returned.yaml:", "feature", "did you mean `features`")),
    Mistake("a word for a number", MODEL, "folds: 3", "folds: three", "lint", ("returned.yaml:", "validation.folds", "number")),
    Mistake("an estimator misspelt", MODEL, "lightgbm.LGBMClassifier", "lightgbm.LGBMClasifier", "lint",
            ("returned.yaml:", "LGBMClasifier", "did you mean `lightgbm.LGBMClassifier`")),
    Mistake("a parameter misspelt", MODEL, "num_leaves", "num_leafs", "lint", ("returned.yaml:", "num_leafs", "did you mean `num_leaves`")),
    Mistake("a parameter that cannot be", MODEL, "C: 1.0", "C: -1.0", "lint", ("returned.yaml:", "candidates", " C", "-1.0")),
    Mistake("an ensemble of what is not there", MODEL, "[logistic, boosting]", "[logistic, bosting]", "lint",
            ("returned.yaml:", "ensemble", "bosting")),
    Mistake("a candidate's name twice", MODEL, "name: boosting", "name: logistic", "lint", ("returned.yaml:", "logistic", "earlier candidate")),
    Mistake("a contract misspelt", MODEL, "contract: returned_training", "contract: returned_traning", "lint",
            ("returned.yaml:", "training.contract", "did you mean `returned_training`")),
    Mistake("a history of no source", MODEL, "source: rows", "source: row", "lint", ("returned.yaml:", "source", "did you mean `rows`")),
    Mistake("a target that the contract lacks", MODEL, "target: returned", "target: came_back", "lint",
            ("returned.yaml:", "data.target", "came_back")),
    Mistake("a feature that the contract lacks", MODEL, "[price, days]", "[price, day]", "lint",
            ("returned.yaml:", "features", "did you mean `days`")),
    Mistake("a pattern that takes no column", MODEL, "[price, days]", '["z*"]', "lint", ("returned.yaml:", "features", "z*")),
    Mistake("a time that is none", MODEL, "time: ordered_at", "time: price", "lint", ("returned.yaml:", "data.time", "timestamp")),
    Mistake("a duration in words", MODEL, "timeout: 24h", "timeout: 24 hours", "lint", ("returned.yaml:", "approval.timeout", "24h")),
    Mistake("a cron line of no hour", MODEL, "train: 0 3 * * 1" , "train: 0 25 * * 1", "lint", ("returned.yaml:", "schedules.train", "cron")),
    Mistake("more drifted windows than windows", MODEL, "k: 2", "k: 5", "lint", ("returned.yaml:", "persistence", "k")),
    Mistake("a metric that is none", MODEL, "metric: average_precision  # champion", "metric: auc  # champion", "lint",
            ("returned.yaml:", "gate.metric", "roc_auc")),
    Mistake("money of no column", MODEL, "money: null", "money: amount", "lint", ("returned.yaml:", "data.money", "amount")),
    Mistake("money in words", MODEL, "money: null", "money: channel", "lint", ("returned.yaml:", "data.money", "channel")),
    Mistake("a recent flow misspelt", MODEL, "flow: shop_returned", "flow: shop_retuned", "lint",
            ("returned.yaml:", "recent.flow", "did you mean `shop_returned`")),
    Mistake("a stage of no flow", MODEL, "stage: contract", "stage: contracts", "lint", ("returned.yaml:", "recent.stage", "contract")),
    Mistake("a tab", MODEL, "  target: returned", "\ttarget: returned", "lint", ("returned.yaml:", "tab")),
    Mistake("a key twice", MODEL, "owner: model-owners", "owner: a\nowner: b", "lint", ("returned.yaml:", "owner", "twice")),
    Mistake("another name than the file's", MODEL, "model: returned", "model: return", "lint", ("returned.yaml:", "model", "returned")),
    Mistake("a family that is none", MODEL, "family: classification", "family: classifier", "lint",
            ("returned.yaml:", "family", "classification")),
    Mistake("a share above one", MODEL, "# holdout: 0.25", "holdout: 25", "lint", ("returned.yaml:", "holdout", "1")),
    # --- the contract ---
    Mistake("an expectation misspelt", INCOMING, "expect_column_values_to_be_unique", "expect_column_values_to_be_uniqe", "lint",
            ("returned_rows.yaml:", "did you mean `expect_column_values_to_be_unique`")),
    Mistake("an argument misspelt", INCOMING, "kwargs: {column: price, min_value", "kwargs: {column: price, minimum", "lint",
            ("returned_rows.yaml:", "minimum", "min_value")),
    Mistake("a rule about no column", INCOMING, "kwargs: {column: price, min_value", "kwargs: {column: prise, min_value", "lint",
            ("returned_rows.yaml:", "prise", "did you mean `price`")),
    Mistake("a rule without a name", INCOMING, "meta: {rule: key_duplicate, ", "meta: {", "lint", ("returned_rows.yaml:", "meta", "rule")),
    Mistake("two rules of one name", INCOMING, "rule: key_duplicate", "rule: key_missing", "lint", ("returned_rows.yaml:", "key_missing")),
    Mistake("a type that is none", INCOMING, "price: {type: float", "price: {type: decimal", "lint", ("returned_rows.yaml:", "price.type", "float")),
    Mistake("a key that is no column", INCOMING, "key: order_no", "key: order_id", "lint", ("returned_rows.yaml:", "key", "order_id")),
    Mistake("personal data as the key", INCOMING, "order_no: {type: int", "order_no: {pii: direct, type: int", "lint",
            ("returned_rows.yaml:", "key", "pii: direct")),
    Mistake("a tolerance in percent", INCOMING, "tolerated: 0.05", "tolerated: 5", "lint", ("returned_rows.yaml:", "tolerated", "1")),
    Mistake("a severity that is none", INCOMING, "severity: critical", "severity: error", "lint", ("returned_rows.yaml:", "severity", "critical")),
    # --- the source ---
    Mistake("a kind that is none", SOURCES, "rows:\n  kind: file", "rows:\n  kind: files", "lint", ("sources.yaml:", "kind", "file")),
    Mistake("a placeholder misspelt", SOURCES, "/shop/{partition}.*", "/shop/{partitions}.*", "lint", ("sources.yaml:", "{partition}")),
    Mistake("a step in words", SOURCES, "step: 1d #", "step: daily #", "lint", ("sources.yaml:", "step", "1d12h")),
    Mistake("a history that is not there", SOURCES, "history.csv", "histroy.csv", "lint", ("sources.yaml:", "histroy.csv", "history.csv")),
    Mistake("SQL without a partition", SOURCES, "labels:\n  kind: file", "db:\n  kind: sql\n  conn_id: x\n  query: SELECT 1\n  description: x\nlabels:\n  kind: file",
            "lint", ("sources.yaml:", "db.query", ":start")),
    Mistake("two statements", SOURCES, "labels:\n  kind: file",
            "db:\n  kind: sql\n  conn_id: x\n  query: SELECT :start, :end; DROP TABLE x\n  description: x\nlabels:\n  kind: file",
            "lint", ("sources.yaml:", "db.query", "one SELECT")),
    Mistake("a cursor from nowhere", SOURCES, "labels:\n  kind: file",
            "api:\n  kind: http\n  conn_id: x\n  endpoint: /x\n  paging: {by: cursor}\n  description: x\nlabels:\n  kind: file",
            "lint", ("sources.yaml:", "api.paging", "next")),
    # --- the flow ---
    Mistake("a flow's model misspelt", FLOW, '"returned": flow.score(rows, "returned"', '"returned": flow.score(rows, "retuned"', "lint",
            ("shop_returned.py:", "retuned", "did you mean `returned`")),
    Mistake("a flow's source misspelt", FLOW, 'flow.ingest("rows")', 'flow.ingest("row")', "lint", ("shop_returned.py:", "did you mean `rows`")),
    Mistake("a flow's contract misspelt", FLOW, '"returned_rows")', '"returned_row")', "lint", ("shop_returned.py:", "did you mean `returned_rows`")),
    Mistake("a step that is none", FLOW, ":decide", ":decid", "lint", ("shop_returned.py:", "decid")),
    Mistake("a step's frame that is none", FLOW, "rows=rows, **scores", "row=rows, **scores", "lint", ("shop_returned.py:", "row")),
    Mistake("another step than the source's", FLOW, 'step="1d"', 'step="1h"', "lint", ("shop_returned.py:", "step", "1d")),
    Mistake("a person's answer as an option", FLOW, "decisions=published, answer=word)", 'options={"answer": word}, decisions=published)', "lint",
            ("shop_returned.py:", "answer")),
    # --- what is delivered ---
    Mistake("no delivery", "", "", "", "read", ("rows", "2026-01-05", "no file")),
    Mistake("a column is missing", LANDED, "", delivered(DELIVERY.replace(",days", "").replace(",3\n", "\n")), "check", ("days", "missing")),
    Mistake("rows of another day", LANDED, "", delivered(DELIVERY.replace("2026-01-05T", "2026-01-06T")), "check", ("other_partition",)),
    Mistake("semicolons", LANDED, "", delivered(DELIVERY.replace(",", ";")), "check", ("2026-01-05T00-00-00.csv", "header", "commas")),
    Mistake("a workbook", LANDED, "", delivered("PK\x03\x04 and more"), "read", ("2026-01-05T00-00-00.csv", "Excel", "CSV")),
    Mistake("days before months", LANDED, "", delivered(DELIVERY.replace("2026-01-05T00:00:00Z", "05.01.2026")), "check", ("ordered_at", "05.01.2026")),
    Mistake("an empty delivery", LANDED, "", delivered(HEADER + "\n"), "check", ("rows_delivered",)),
    Mistake("a key twice in a delivery", LANDED, "", delivered(DELIVERY + _row(3) + "\n"), "check", ("key_duplicate", "9003")),
    Mistake("a negative price", LANDED, "", delivered(DELIVERY.replace("20.5", "-20.5")), "check", ("price_range", "-20.5")),
    Mistake("words for a number", LANDED, "", delivered(DELIVERY.replace("20.5", "cheap")), "check", ("price", "cheap")),
    # --- the command line ---
    Mistake("a model misspelt", "", "", "", "baton rollback retuned --reason x", ("retuned",)),
    Mistake("a trial of a model misspelt", "", "", "", "baton try retuned", ("retuned", "returned")),
    Mistake("a target misspelt", "", "", "", "baton new model m --pack shop/baton_shop --source rows --target retuned",
            ("--target retuned", "did you mean `returned`")),
    Mistake("a repair of no column", "", "", "", "baton quarantine repair --set amount=amout/100", ("no row in quarantine",)),
    Mistake("a question about nobody", "", "", "", "baton trace nobody", ("nobody",)),
    Mistake("a partition of no date", "", "", "", "baton quarantine reinject shop_returned yesterday", ("yesterday", "2026-")),
]  # fmt: skip


def edit(project: Path, mistake: Mistake) -> None:
    """Make the mistake."""
    if not mistake.file:
        return
    path = project / mistake.file
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if callable(mistake.new):
        after = mistake.new(before)
    else:
        if before.count(mistake.old) != 1:
            raise ValueError(
                f"{mistake.what}: {mistake.old!r} stands {before.count(mistake.old)} times in {mistake.file}"
            )
        after = before.replace(mistake.old, mistake.new)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(after, encoding="utf-8")
