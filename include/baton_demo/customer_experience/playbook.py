"""The moves of the demo and of the end-to-end tests: deliver an hour, run it, answer what waits, say what it really was."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from baton.names import PUBLISH
from baton_demo import playbook
from baton_demo.customer_experience import data

if TYPE_CHECKING:
    import pandas as pd

    from baton_demo.story import Demo

PACK = "customer_experience"
DOCUMENTS, MESSAGES = "document_intake", "customer_experience"
SEED = 31
SIMULATED = datetime(2026, 11, 20, tzinfo=UTC)  # first hour of the story for the simulators: the same texts on any day
ADDED = "We have noted it in your file."  # what the simulated clerk adds to an answer before approving it


class CustomerExperiencePlaybook(playbook.Playbook):
    """Plays hours of documents and messages; what is delivered supersedes the recording, and its truth is kept here."""

    def __init__(self, demo: Demo) -> None:
        """Take the running services."""
        super().__init__(demo)
        self.documents: dict[str, pd.DataFrame] = {}  # partition -> truth about its documents
        self.messages: dict[str, pd.DataFrame] = {}
        self.reviewed: list[dict[str, Any]] = []

    def hours(self, first: int, end: int | None = None) -> list[str]:
        """Partition keys of the recording's hours first..end-1."""
        from baton.data.partitions import format_key
        from baton.sources.replay import replay_anchor

        return [format_key(replay_anchor() + timedelta(hours=hour)) for hour in range(first, end or first + 1)]

    # --- what arrives -----------------------------------------------------------------------------------------------

    def deliver_documents(
        self, partition: str, *, count: int = data.DOCUMENTS, shifted: bool = False, bad: int = 0
    ) -> None:
        """Put an hour's documents into its drop folder, as files."""
        from baton.data.partitions import safe_name
        from baton.settings import settings
        from baton.sources.documents import Document
        from baton_demo.customer_experience.documents import deliveries as simulate

        start, later = _story_time(partition)
        frame, truth = simulate.documents(
            count, SEED, start, timedelta(hours=1) / (count + bad), bad=bad, shift=start if shifted else None
        )
        frame["received_at"] += later
        folder = settings().landing_dir / "documents" / safe_name(partition)
        folder.mkdir(parents=True, exist_ok=True)
        keys = []
        for number, row in enumerate(frame.to_dict("records")):
            name, content = f"{number:03d} {row['name']}", row["content"]
            if content is None:  # what the source does not carry: as large as it says, without the bytes on the disk
                with (folder / name).open("wb") as file:
                    file.truncate(row["size"])
                content = bytes(row["size"])
            else:
                (folder / name).write_bytes(content)
            moment = row["received_at"].timestamp()
            os.utime(folder / name, (moment, moment))
            keys.append(Document(name, row["received_at"], content, len(content)).document_id)
        self.documents[partition] = truth.assign(document_id=keys, received_at=frame["received_at"].to_numpy())

    def deliver_messages(self, partition: str, *, count: int = data.MESSAGES, shifted: bool = False) -> None:
        """Put an hour's messages into the landing folder, as CSV."""
        from baton.data.partitions import safe_name
        from baton.settings import settings
        from baton_demo.customer_experience.messages import messages

        start, later = _story_time(partition)
        seed = SEED + int(start.timestamp()) // 3600
        frame = messages.simulate(count, seed, start, timedelta(hours=1) / count, shift=start if shifted else None)
        frame["received_at"] += later
        path = settings().landing_dir / "messages" / f"{safe_name(partition)}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        said = frame[["message_id", "customer", "address", "account", "received_at", "channel", "text"]]
        said.to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        self.messages[partition] = frame

    # --- what becomes of it -----------------------------------------------------------------------------------------

    def play(self, partitions: list[str]) -> None:
        """Run both flows for these hours, side by side, and answer what waits."""
        runs = {(flow, self.airflow.trigger(flow, p)): p for p in partitions for flow in (DOCUMENTS, MESSAGES)}
        done: set[tuple[str, str]] = set()
        answered: set[str] = set()
        until = time.monotonic() + 420
        with self.demo.progress(f"{DOCUMENTS} and {MESSAGES}: {len(partitions)} hours", len(runs)) as advance:
            while len(done) < len(runs):
                for flow, run in runs.keys() - done:
                    state = self.airflow.run(flow, run)["state"]
                    self.expect(state != "failed", f"{flow} {runs[flow, run]} must go through")
                    if state == "success":
                        done.add((flow, run))
                    elif flow == DOCUMENTS and run not in answered and self._asks(run):
                        self._answer(run, runs[flow, run])
                        answered.add(run)
                advance(len(done))
                self.expect(time.monotonic() < until, f"{len(runs) - len(done)} runs are not through in time")
                time.sleep(0.5)

    def _asks(self, run: str) -> bool:
        tasks = {task["task_id"]: task["state"] for task in self.airflow.tasks(DOCUMENTS, run)}
        return tasks.get("review") in ("awaiting_input", "deferred")

    def _answer(self, run: str, partition: str) -> None:
        """The simulated clerk approves, and adds a sentence to the first answer."""
        asked = self.published(DOCUMENTS, partition)
        asked = asked[asked["route"] == "approve"].sort_values("money", ascending=False)
        key, text = asked["entity_key"].iloc[0], asked["masked"].iloc[0]
        greeting, _, rest = text.partition("\n\n")
        changes = {key: f"{greeting}\n\n{ADDED} {rest}"}
        self.airflow.answer(DOCUMENTS, run, "review", approve=True, params=changes)
        self.reviewed.append({"partition": partition, "asked": len(asked), "changed": key})

    def published(self, flow: str, partition: str) -> pd.DataFrame:
        """An hour's decisions as published."""
        from baton.data.datasets import read
        from baton.stages.slots import Slot, head

        result = head(Slot(flow, PUBLISH, partition))
        self.expect(result is not None, f"{flow} {partition} must be published")
        assert result is not None
        return read(result.ref)

    # --- people and truth -------------------------------------------------------------------------------------------

    def outcomes_arrive(self, partitions: list[str]) -> None:
        """Clerks and teams say what these hours really were; hours of the recording bring their own outcomes."""
        from baton.data.partitions import safe_name
        from baton.settings import settings
        from baton_demo.customer_experience.messages import messages

        for partition in partitions:
            for flow, truths in (("document_outcomes", self.documents), ("customer_outcomes", self.messages)):
                if partition not in truths:
                    continue
                frame = truths[partition]
                if flow == "document_outcomes":
                    frame = frame[frame["bad"] == ""][["document_id", "received_at", "type", "intent", "risky"]]
                else:
                    said = self.published(MESSAGES, partition).rename(columns={"entity_key": "message_id"})
                    said = said[["message_id", "route", "intent"]]
                    known = messages.outcomes(frame, said, SEED)
                    known["intent"] = known["intent"].replace("", None)
                    frame = known[["message_id", "outcome", "intent", "reply_seconds"]].merge(
                        frame[["message_id", "received_at"]], on="message_id"
                    )
                path = settings().landing_dir / flow / f"{safe_name(partition)}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                frame.reset_index(drop=True).to_parquet(path, index=False)
        for flow in ("document_outcomes", "customer_outcomes"):
            self.expect_all(self.run_partitions(partitions, flow))

    def decide_cases(self, partitions: list[str], most: int = 12) -> dict[str, int]:
        """People decide the most urgent open cases of these hours by what is true; returns how many of each answer."""
        from collections import Counter

        from sqlalchemy import select

        from baton.feedback import cases
        from baton.record import tables
        from baton.record.warehouse import read

        table = tables.cases
        query = (
            select(table.c.flow, table.c.entity_key, table.c.resolutions, table.c.partition)
            .where(table.c.flow.in_([DOCUMENTS, MESSAGES]), table.c.partition.in_(partitions), table.c.status == "open")
            .order_by(table.c.priority, table.c.risk.desc(), table.c.entity_key)
        )
        with read() as conn:
            rows = conn.execute(query).fetchall()
        answers: Counter[str] = Counter()
        for flow in (DOCUMENTS, MESSAGES):
            for row in [row for row in rows if row.flow == flow][:most]:
                answer = self._true_answer(flow, row)
                cases.decide(flow, row.entity_key, answer, actor="clerk (simulated)")
                answers[answer.partition(":")[0].partition(" (")[0]] += 1
        return dict(answers)

    def _true_answer(self, flow: str, row: Any) -> str:
        """The answer whose labels are the truth; the first one where none fits."""
        truth = (self.documents if flow == DOCUMENTS else self.messages)[row.partition]
        key = "document_id" if flow == DOCUMENTS else "message_id"
        right = truth.set_index(key).loc[row.entity_key]
        for answer, labels in row.resolutions.items():
            if labels and all(right[target] == value for target, value in labels.items()):
                return str(answer)
        closing = [answer for answer, labels in row.resolutions.items() if not labels]
        return str((closing or list(row.resolutions))[0])

    def quarantined(self, partition: str) -> dict[str, int]:
        """Rule -> rows of an hour's documents in quarantine."""
        from collections import Counter

        from baton import quarantine
        from baton.quarantine.rows import Where

        rows = quarantine.list_rows(Where(flow=DOCUMENTS, partition=partition))
        return dict(Counter(rule for row in rows for rule in row.rules))

    def mails(self) -> list[dict[str, Any]]:
        """Mails that left, as the outbox has them: flow, partition, entity_key."""
        from sqlalchemy import select

        from baton.effects import outbox
        from baton.record import tables
        from baton.record.warehouse import read

        table = tables.outbox
        query = select(table.c.flow, table.c.partition, table.c.entity_key).where(
            table.c.kind == "mail", table.c.state == outbox.SENT
        )
        with read() as conn:
            return [dict(row) for row in conn.execute(query).mappings()]


def _story_time(partition: str) -> tuple[datetime, timedelta]:
    """(when the simulators think that the partition begins, how much later it is on the calendar)."""
    from baton.data.partitions import parse_key
    from baton.sources.replay import replay_anchor

    return SIMULATED + (parse_key(partition) - replay_anchor()), replay_anchor() - SIMULATED
