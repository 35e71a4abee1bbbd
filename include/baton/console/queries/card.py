"""The decision card: everything about one case on one page, from the commits that the decision was made of."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from baton.console.drawn import drawn_values
from baton.console.host import Rights
from baton.console.queries import actions
from baton.console.queries.lineage import Checked, all_rows, first_row, lineage, stored_row
from baton.console.queries.queues import FOR_DECIDING
from baton.console.queries.work import verdict_of
from baton.console.spans import placed_values
from baton.console.wording import in_words
from baton.errors import BatonError
from baton.feedback import cases
from baton.published.index import newest
from baton.published.rows import DECISIONS, find
from baton.quarantine.rows import value_of
from baton.record import tables
from baton.record.warehouse import read

HISTORY = 50
_QUARANTINED = ("rule", "column", "value", "status", "reason", "actor", "updated_at")
_HIDDEN = {"_source", "_row", "_row_sha"}


def find_card(rights: Rights, flow: str, entity_key: str) -> dict[str, Any] | None:
    """Collect the card of a case, or of a decision that needed none; None when the flow knows neither.

    Returns:
        case, offered (answer -> text that the person may change), decision, proposal (what the flow decided beside the
        route, named as row), actions (see `actions.of_case`), drawn (its pictures, see `drawn.drawn_values`), fields (what was read out of a text, see
        `spans.placed_values`), scores (with reasons, the sentences that were kept on the case, and who
        let each version decide), contract, row (name, value, description, hidden), row_problem, labels, quarantine, history.
    """
    with read() as conn:
        case = first_row(conn, tables.cases, flow=flow, entity_key=entity_key) or _undecided(flow, entity_key)
        if case is None:
            return None
    line = lineage(flow, entity_key, case["partition"])
    with read() as conn:
        told = {(one["model"], one["version"]): one.get("sentences") or [] for one in case.get("why") or []}
        scores = [
            {**_score(conn, row), "sentences": told.get((row["model"], row["version"]), [])} for row in line.scores
        ]
        labels = all_rows(conn, tables.labels, flow=flow, entity_key=entity_key)
        quarantined = all_rows(conn, tables.quarantine, flow=flow, entity_key=entity_key)
        history = _history(conn, flow, entity_key, case["partition"])
    deciding = rights.decide(flow)
    may_decide = deciding and case["resolution"] is None and bool(case["resolutions"])
    checked = line.checked[0] if line.decision and line.checked else None
    source, source_columns, problem = _source(checked, entity_key)
    said, said_columns = _published(line.published if line.decision else None, entity_key)
    drawn = drawn_values(said, said_columns, deciding)
    moments = {name: one for picture in drawn["timeline"] for one in picture["moments"] for name in one["ids"]}
    return {
        "case": case if deciding else {**case, **dict.fromkeys((*FOR_DECIDING, "text"))}, "offered": _offered(case) if may_decide else {},
        "decision": line.decision, "proposal": _proposal(said, said_columns, deciding),
        "actions": actions.of_case(rights, flow, entity_key, moments), "drawn": drawn,
        "fields": placed_values(said, said_columns, source, source_columns, deciding),
        "scores": sorted(scores, key=lambda s: -s["score"]), "labels": labels,
        "quarantine": [_quarantined(one, unmask=deciding) for one in quarantined],
        "contract": _facts(checked), "row": _source_cells(source, source_columns, scores, deciding), "row_problem": problem,
        "history": history, "may_decide": may_decide,
    }  # fmt: skip


def _quarantined(record: Mapping[str, Any], *, unmask: bool) -> dict[str, Any]:
    shown = {**record, "value": value_of(record)} if unmask else record
    return {name: shown[name] for name in _QUARANTINED}


def _offered(case: Mapping[str, Any]) -> dict[str, str]:
    if not case["edits"]:
        return {}
    try:
        return cases.offered(case["flow"], case["entity_key"])
    except BatonError:
        return {}  # the source row's section says that the store cannot be read


def _undecided(flow: str, entity_key: str) -> dict[str, Any] | None:
    """The newest decision in the shape of a case that nobody has to decide."""
    row = next(
        (row for one in newest(entity_key, flow) for row in find(DECISIONS, flow, one.partition, [entity_key])), None
    )
    if row is None:
        return None
    none = dict.fromkeys(("queue", "priority", "title", "reasons", "edits", "resolution", "actor", "note", "text"))
    known = {name: row[name] for name in ("flow", "entity_key", "partition", "route", "risk")}
    at = row["decided_at"]
    return {**known, **none, "status": "no case", "resolutions": {}, "opened_at": at, "updated_at": at}


def _score(conn: Connection, row: Mapping[str, Any]) -> dict[str, Any]:
    """One model's score, its reasons, and the answer that made this version champion."""
    approval = first_row(conn, tables.approvals, model=row["model"], version=row["version"])
    return {
        **{name: row[name] for name in ("model", "version", "score", "category", "accepted", "scored_at")},
        # the likeliest classes of a text are in the words already
        "reasons": [] if row["category"] else [[str(feature), float(value)] for feature, value in row["reasons"] or []],
        "words": in_words(row["reasons"], row["category"]), "approval": verdict_of(approval) if approval else None,
    }  # fmt: skip


def _facts(checked: Checked | None) -> dict[str, Any] | None:
    if checked is None:
        return None
    commit = checked.commit
    known = {name: commit["facts"].get(name) for name in ("status", "rows_in", "rows_good", "page")}
    known |= {name: commit[name] for name in ("stage", "uri", "run_id")}
    return {**known, "name": commit["facts"].get("contract"), "at": commit["created_at"]}


def _source(checked: Checked | None, entity_key: str) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """The row that was decided on, what its contract says of its columns, and why it cannot be shown."""
    if checked is None:
        return {}, {}, "The commits of this decision name no contract, so its source row is not known."
    spec = checked.contract
    if checked.row is not None:
        return checked.row, spec["columns"], None
    missing = f"{checked.commit['uri']} has no row with {'@'.join(spec['key'])} = {entity_key}."
    return {}, {}, checked.problem or missing


def _published(commit: Mapping[str, Any] | None, entity_key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The decision's row as it is published, and what its contract says of its columns; empty without a contract."""
    spec = (commit or {}).get("params", {}).get("output_contract")
    if commit is None or spec is None:
        return {}, {}
    try:
        row = stored_row(commit, spec["key"], entity_key)
    except BatonError:
        row = None  # the source row's section says that the store cannot be read
    return (row, spec["columns"]) if row is not None else ({}, {})


def _source_cells(
    row: Mapping[str, Any], columns: Mapping[str, Any], scores: list[dict[str, Any]], unmask: bool
) -> list[dict[str, Any]]:
    """The source row, columns named by a reason first.

    Columns that the contract marks as direct personal data are shown to people who may decide only.
    """
    named = list(dict.fromkeys(feature for score in scores for feature, _ in score["reasons"]))
    order = [*[name for name in named if name in row], *[name for name in row if name not in named]]
    shown = [name for name in order if name not in _HIDDEN]
    return [_cell(name, row[name], columns.get(name, {}), named=name in named, unmask=unmask) for name in shown]


_SHOWN_ABOVE = {"entity_key", "title", "risk", "route", "money", "queue", "priority", "resolutions", "edits"}
_NOTHING = (None, "", "[]")


def _proposal(row: Mapping[str, Any], columns: Mapping[str, Any], unmask: bool) -> list[dict[str, Any]]:
    """What the decision says beside route, risk and money: the columns that its contract describes."""
    left = row.keys() - _SHOWN_ABOVE - _HIDDEN
    names = [
        name for name, column in columns.items() if name in left and not column.get("spans") and not column.get("shows")
    ]
    cells = [_cell(name, row[name], columns[name], named=False, unmask=unmask) for name in names]
    return [cell for cell in cells if cell["hidden"] or cell["value"] not in _NOTHING]


def _cell(name: str, value: Any, column: Mapping[str, Any], *, named: bool, unmask: bool) -> dict[str, Any]:
    hidden = column.get("pii") == "direct" and not unmask
    plain = value.item() if hasattr(value, "item") else value
    # NaN differs from itself; pandas' own empty values answer no such question
    if plain is None or type(plain).__name__ in ("NaTType", "NAType") or plain != plain:
        plain = None
    elif not isinstance(plain, (bool, int, float)):
        plain = str(plain)
    shown = {"name": name, "value": None if hidden else plain, "hidden": hidden, "named": named}
    return {**shown, "description": column.get("description", "")}


def _history(conn: Connection, flow: str, entity_key: str, partition: str) -> list[dict[str, Any]]:
    """What the ledger has on the case and on its partition, oldest first."""
    table = tables.ledger
    subjects = [f"{flow}/{entity_key}", f"{flow}/{partition}"]
    query = select(table).where(table.c.subject.in_(subjects)).order_by(table.c.seq.desc()).limit(HISTORY)
    rows = reversed(conn.execute(query).mappings().all())
    shown = ("seq", "at", "kind")
    return [{name: row[name] for name in shown} | {"payload": json.loads(row["payload"])} for row in rows]
