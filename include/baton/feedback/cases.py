"""Cases: what a flow could not decide alone. A person's decision is never overwritten, and becomes a label."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from baton.actions import switch
from baton.data.datasets import DatasetRef, read_batches
from baton.data.fit import fit, flaw
from baton.effects import firewall
from baton.errors import BatonError
from baton.feedback import reasons
from baton.feedback.labels import ARRIVED, PERSON, Truth, record_labels
from baton.feedback.shown import shown
from baton.published.rows import told_of
from baton.record import ledger, tables, warehouse
from baton.record.warehouse import insert, now, take_turns, write

if TYPE_CHECKING:
    import pandas as pd


class UnknownResolution(BatonError):
    """The case cannot be answered like that; the message lists what it can."""


class UnusableText(BatonError):
    """The text is none that the answer can take, or the answer takes none; the message says which."""


ANALYST = "analyst"  # origin of the labels that follow from an answer
LONGEST_TITLE = 120  # characters of what a case is called
LONGEST_REASON = 600  # of one of its sentences
LONGEST_TEXT = 4000  # characters of a text that a person writes
# what may be answered -> what is then true: target -> value; or target -> {column: value}, true of each row that the
# decision's column names, a JSON object partition -> keys: rows of other partitions than the case's may be among them
Resolutions = Mapping[str, Mapping[str, Any]]


def open_cases(
    conn: Connection, flow: str, partition: str, decisions: pd.DataFrame | Iterable[pd.DataFrame], resolutions: Resolutions | None = None,
    routes: Collection[str] | None = None,
) -> int:  # fmt: skip
    """Upsert a case per decision; close as `withdrawn` those open ones of the partition that no longer need a person.

    A case that a person decided stays as it is, whatever the flow says later. Returns the number of decisions.

    Args:
        decisions: a frame, or one after the other (`cases_to_open`): columns entity_key, route, risk; perhaps queue (whose work it is), priority (1 is first),
            title (what people call it: a subject, a sender, an item; its beginning is kept, in one line), reasons (JSON list of
            sentences, or one sentence: why), resolutions (JSON: what this very case may be answered) and edits (JSON: answers that come with a text ->
            the column of the decision that it stands instead of).
        resolutions: what every case may be answered, where a decision brings nothing of its own.
        routes: only cases of these routes are closed as withdrawn: the others were opened by another stage of the
            flow. None: all.

    Raises:
        BatonError: a case would have no answer, `edits` names an answer or an answer names a column that there is not.
    """
    import pandas as pd

    at, table = now(), tables.cases
    mine = [table.c.flow == flow, table.c.partition == partition, table.c.status == "open"]
    mine += [] if routes is None else [table.c.route.in_(routes)]
    conn.execute(table.update().where(*mine).values(status="withdrawn", updated_at=at))
    frames = [decisions] if isinstance(decisions, pd.DataFrame) else decisions
    return sum(_open(conn, flow, partition, frame, resolutions, at) for frame in frames)


def _open(
    conn: Connection, flow: str, partition: str, decisions: pd.DataFrame, resolutions: Resolutions | None, at: str
) -> int:
    table = tables.cases
    rows = [
        {"flow": flow, "entity_key": str(one["entity_key"]), "partition": partition, "route": one["route"],
         "queue": one.get("queue") or None, "priority": int(one["priority"]) if one.get("priority") else None,
         "risk": float(one["risk"]), "title": _title(one.get("title")), "reasons": _reasons(one.get("reasons")), **_answers(flow, one, resolutions), "status": "open", "opened_at": at, "updated_at": at}
        for one in decisions.to_dict("records")
    ]  # fmt: skip
    if rows:
        said = told_of(conn, flow, partition, [row["entity_key"] for row in rows])
        reasons.put_into_words([one for told in said.values() for one in told["why"]])
        rows = [{**row, "money": None, "why": None, **said.get(row["entity_key"], {})} for row in rows]
        statement = insert(conn, table)
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.flow, table.c.entity_key],
            set_={name: statement.excluded[name] for name in _FROM_THE_RUN},
            where=table.c.resolution.is_(None),  # asked here: a person may decide meanwhile, in any partition
        )
        conn.execute(statement, rows)
    return len(rows)


_FROM_THE_RUN = ("partition", "route", "queue", "priority", "risk", "title", "reasons", "resolutions", "edits", "status",
                  "updated_at", "money", "why")  # fmt: skip


def _title(cell: Any) -> str | None:
    """What people call the case, in one line; it may be anybody's subject line: nothing invisible, nothing that turns it round."""
    if not isinstance(cell, str):
        return None
    seen = "".join(one for one in cell if one.isspace() or not unicodedata.category(one).startswith("C"))
    line = " ".join(seen.split())
    return f"{line[: LONGEST_TITLE - 1]}…" if len(line) > LONGEST_TITLE else line or None


def _reasons(cell: Any) -> list[str] | None:
    """The decision's own sentences, as it wrote them."""
    if not isinstance(cell, str) or not cell.strip():
        return None
    try:
        found = json.loads(cell)
    except ValueError:
        found = cell
    return [fit(str(one), LONGEST_REASON) for one in (found if isinstance(found, list) else [found])]


def _answers(flow: str, decision: Mapping[Any, Any], default: Resolutions | None) -> dict[str, Any]:
    """What the case may be answered, and which of the answers come with a text."""
    own, texts = decision.get("resolutions"), decision.get("edits")
    found: Resolutions = json.loads(own) if isinstance(own, str) else default or {}
    edits: dict[str, str] = json.loads(texts) if isinstance(texts, str) else {}
    if not found:
        raise BatonError(f"flow {flow}: a case needs `resolutions`: what a person may answer, and what is then true")
    if strange := sorted(set(edits) - set(found)):
        raise BatonError(
            f"flow {flow}: `edits` names {strange[0]!r}, which no case is answered; {', '.join(found)} are"
        )
    meant = {
        column for answer in found.values() for said in answer.values() if isinstance(said, Mapping) for column in said
    }
    if missing := sorted(meant - set(decision)):
        raise BatonError(
            f"flow {flow}: an answer is about the rows of the column {missing[0]!r}, which no decision has"
        )
    return {"resolutions": found, "edits": edits or None}


def offered(flow: str, entity_key: str) -> dict[str, str]:
    """The texts that a case offers to be changed: answer -> text, out of the decision as it is published now.

    Raises:
        BatonError: the decision cannot be read.
    """
    found = _published(flow, entity_key, tables.cases.c.edits)
    if found is None or not found.edits:
        return {}
    texts = {answer: row[column] for row in _rows(found, entity_key) for answer, column in found.edits.items()}
    return {answer: text for answer, text in texts.items() if isinstance(text, str)}


def _published(flow: str, entity_key: str, column: Any) -> Any:
    """A column of a case, and `ref` of the decisions that its partition has published; None without any."""
    case, published, commit = tables.cases, tables.published, tables.commits
    query = (
        select(column, commit.c.ref)
        .join(published, (published.c.flow == case.c.flow) & (published.c.partition == case.c.partition))
        .join(commit, commit.c.id == published.c.commit_id)
        .where(case.c.flow == flow, case.c.entity_key == str(entity_key))
    )  # fmt: skip
    with warehouse.read() as conn:
        return conn.execute(query).first()


def _rows(found: Any, entity_key: str) -> list[dict[Any, Any]]:
    frames = (batch.to_pandas() for batch in read_batches(DatasetRef.from_dict(found.ref)))
    some = (frame[frame["entity_key"].astype(str) == str(entity_key)] for frame in frames)
    return [row for frame in some for row in frame.to_dict("records")]


def _row_labels(flow: str, entity_key: str, resolution: str) -> dict[str, list[tuple[str, str, Truth]]]:
    """What an answer says of the rows that the decision names: target -> (key, partition, value); most cases name none."""
    found = _published(flow, entity_key, tables.cases.c.resolutions)
    answer = (found.resolutions.get(resolution) or {}) if found is not None else {}
    meant = {target: of_rows for target, of_rows in answer.items() if isinstance(of_rows, Mapping)}
    cells = _rows(found, entity_key) if meant else []
    return {
        target: [
            (str(key), partition, value)
            for column, value in of_rows.items()
            for row in cells if isinstance(row[column], str)
            for partition, keys in json.loads(row[column]).items() for key in keys
        ]
        for target, of_rows in meant.items()
    }  # fmt: skip


def decide(
    flow: str, entity_key: str, resolution: str, actor: str, note: str = "", text: str | None = None,
    seen: int | None = None, actor_id: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Record a person's decision on a case, and the labels that follow from it, in one transaction.

    Args:
        text: what the person wrote, for an answer that comes with a text (the case's `edits`). On the case it is null
            where it says what was offered anyway. The ledger records whether it was changed, not what it says.
        seen: commit of the decision that the person looked at; None: they say nothing of it, which goes on record, too.
        actor_id: what they logged in with, where `actor` is what they are called: an answer may be an approval, and two
            people are told apart by it.

    Raises:
        UnknownResolution: the case cannot be answered like that.
        UnusableText: the text is missing, empty, too long, or not asked for; or text or note is none that can be kept.
        BatonError: no such case, it was already decided by somebody, what was offered cannot be read, or a later run has
            decided anew since it was `seen`.
    """
    table = tables.cases
    if why := flaw(note, LONGEST_TEXT):
        raise UnusableText(f"note: {why}")
    # read before the warehouse is locked
    proposed = offered(flow, entity_key) if text is not None else {}
    rows = _row_labels(flow, entity_key, resolution)
    with write() as conn:
        take_turns(conn, switch.TURNS)  # so that nothing is placed about it while what waits is withdrawn
        here = (table.c.flow == flow) & (table.c.entity_key == str(entity_key))
        case = conn.execute(select(table).where(here)).mappings().first()
        if case is None:
            raise BatonError(f"no case {entity_key!r} in flow {flow!r}")
        if resolution not in case["resolutions"]:
            raise UnknownResolution(f"resolution {resolution!r}: allowed are {', '.join(case['resolutions'])}")
        if case["resolution"] is not None:
            raise BatonError(f"case {entity_key!r} was already decided {case['resolution']} by {case['actor']}")
        there = shown(conn, case)
        if seen is not None and seen != there["commit"]:
            raise BatonError(
                f"case {entity_key!r} was decided anew by a later run since you looked: reload and read it"
            )
        written = _written(resolution, text, case["edits"] or {})
        # `seen` null: they did not say what they looked at; then `shown` is only what there was
        said: dict[str, Any] = {"resolution": resolution, "actor": actor, "note": note, "seen": seen, "shown": there}
        if written is not None:
            written = None if written == _lines(proposed.get(resolution, "")) else written
            said["text_changed"] = written is not None
        values: dict[str, Any] = {"status": "closed", "resolution": resolution, "actor": actor, "note": note}
        values["actor_id"] = actor_id or actor
        values |= {"text": written, "updated_at": now()}
        changed = conn.execute(table.update().where(here, table.c.resolution.is_(None)).values(**values))
        if changed.rowcount != 1:
            raise BatonError(f"case {entity_key!r} was decided by somebody else at the same moment")
        firewall.withdraw(conn, flow, str(entity_key), f"its case was closed: {resolution}")
        for target, value in case["resolutions"][resolution].items():
            truths = (
                rows.get(target) or [] if isinstance(value, Mapping) else [(str(entity_key), case["partition"], value)]
            )
            record_labels(conn, flow, ANALYST, actor, truths, target, PERSON)
        for target, truths in rows.items():
            if truths:  # the case's own partition the monitors hear of anyway
                where = sorted({partition for _, partition, _ in truths})
                about = {"target": target, "origin": ANALYST, "published": len(truths), "partitions": where}
                ledger.append(conn, ARRIVED, flow, about)
        ledger.append(conn, "case_decided", f"{flow}/{entity_key}", said)
    return {**case, **values}


def withdraw(conn: Connection, flow: str, entity_key: str, why: str) -> bool:
    """Close an open case that needs nobody any more, with a note; one that a person decided stays. Returns whether it was open."""
    table = tables.cases
    here = (table.c.flow == flow) & (table.c.entity_key == str(entity_key)) & (table.c.status == "open")
    done = conn.execute(table.update().where(here).values(status="withdrawn", note=why, updated_at=now()))
    return bool(done.rowcount)


def _lines(text: str) -> str:
    """A text as it is kept: one kind of line ending (a form sends two characters), nothing blank around it."""
    return "\n".join(text.splitlines()).strip()


def _written(resolution: str, text: str | None, edits: Mapping[str, str]) -> str | None:
    """The text of an answer that comes with one, None for one that comes without."""
    if resolution not in edits:
        if text is not None:
            takes = f"only {', '.join(edits)} does" if edits else "this case is answered without a text"
            raise UnusableText(f"text: the answer {resolution!r} takes none; {takes}")
        return None
    found = _lines(text or "")
    if not found:
        raise UnusableText(f"text: the answer {resolution!r} comes with the text that is to be used; it is empty")
    if len(found) > LONGEST_TEXT:
        raise UnusableText(f"text: {len(found):,} characters; {LONGEST_TEXT:,} are allowed")
    if any(unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t" for one in found):
        raise UnusableText("text: holds control characters or half of a surrogate pair; remove them")
    return found


def decided(flow: str) -> set[str]:
    """Entities whose case a person has decided."""
    return {case["entity_key"] for case in decided_cases(flow, ("entity_key",))}


def decided_cases(
    flow: str, columns: Collection[str] = (), partitions: tuple[str, str] | None = None
) -> list[dict[str, Any]]:
    """Cases that a person has decided, by partition and entity.

    Args:
        columns: of the table `cases`; none: all.
        partitions: the first and the last one; None: all.
    """
    table = tables.cases
    query = select(*(table.c[name] for name in columns or table.c.keys()))
    query = query.where(table.c.flow == flow, table.c.resolution.is_not(None))
    if partitions is not None:
        query = query.where(table.c.partition.between(*partitions))
    with warehouse.read() as conn:
        return [dict(row) for row in conn.execute(query.order_by(table.c.partition, table.c.entity_key)).mappings()]


def counts(flow: str | None = None) -> dict[str, int]:
    """Number of cases by status."""
    query = select(tables.cases.c.status, func.count()).group_by(tables.cases.c.status)
    if flow:
        query = query.where(tables.cases.c.flow == flow)
    with warehouse.read() as conn:
        return {str(row[0]): int(row[1]) for row in conn.execute(query)}
