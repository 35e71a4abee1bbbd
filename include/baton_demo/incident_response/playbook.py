"""The moves of the demo and of the end-to-end tests: deliver, run a partition, vote on what waits, break, stop, take back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton_demo import playbook
from baton_demo.incident_response.people import OverHttp, People, Seat
from baton_demo.incident_response.security_client import SecurityClient

if TYPE_CHECKING:
    import pandas as pd

    from baton.actions.requests import Request
    from baton.effects.outbox import Effect
    from baton_demo.story import Demo

FLOW, PACK, UNDO = "incident_response", "incident_response", "undo"
MODELS = ("network_intrusion", "log_anomaly")
SEED = 12
PARTS = ("firewall", "directory", "tickets")
FIRST, SECOND = "admin", "op"  # two people with log-ins of their own

APPROVED, REFUSED = "approved", "refused"
BUTTONS = {APPROVED: "Approve", REFUSED: "Refuse"}


@dataclass(frozen=True)
class Vote:
    """What a person of the story says about a request."""

    person: str
    answer: str
    reason: str = ""


Votes = Callable[["Request"], list[Vote]]


def agree(request: Request) -> list[Vote]:
    """As many say yes as are needed."""
    return [Vote(person, APPROVED, "agreed on the phone") for person in (FIRST, SECOND)[: request.needs]]


def slots(first: int, end: int | None = None) -> list[str]:
    """Partition keys of the recorded hour's five minutes first..end-1, where it is laid on the calendar first."""
    from baton.data.partitions import format_key
    from baton.sources.replay import replay_anchor

    anchor = replay_anchor()
    return [format_key(anchor + timedelta(minutes=5 * slot)) for slot in range(first, end or first + 1)]


class IncidentResponsePlaybook(playbook.Playbook):
    """Plays five minutes after five minutes: incidents live over them, so their order matters."""

    def __init__(self, demo: Demo, people: People | None = None) -> None:
        """Take the running services; `people`: where each of them sits, over HTTP if nothing is said."""
        super().__init__(demo)
        here = demo.services.settings
        self._people, self._desks = people or self._over_http, dict[str, Seat]()
        self.security = SecurityClient.of(here.home, here.services_file)
        self.votes: list[dict[str, Any]] = []
        self._asked: set[int] = set()

    # --- what arrives -----------------------------------------------------------------------------------------------

    def deliver_bad_events(self, partition: str) -> pd.DataFrame:
        """The partition's events with rows that must not go on; returns what was planted."""
        from baton.packs.pack import load_pack
        from baton.sources.reading import read_partition
        from baton_demo.incident_response import simulate

        frame = read_partition(load_pack(PACK), "events", partition).frame
        content, planted = simulate.bad_events(frame, partition, SEED)
        simulate.deliver("events", partition, content)
        return planted

    # --- what becomes of it -----------------------------------------------------------------------------------------

    def play(self, partitions: list[str], answers: Votes = agree) -> None:
        """Run partitions one after another; people vote on what waits."""
        with self.demo.progress(f"{FLOW}: {len(partitions)} partitions", len(partitions)) as advance:
            for done, partition in enumerate(partitions):
                self.run(partition, answers)
                advance(done + 1)

    def run(self, partition: str, answers: Votes = agree) -> str:
        """Trigger a partition's run, vote on what waits until it is through; returns the run's id."""
        run = self.airflow.trigger(FLOW, partition)
        self.finish(run, partition, answers)
        return run

    def finish(self, run: str, partition: str, answers: Votes = agree, timeout: float = 240) -> None:
        """Vote on what waits until a run is through."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            state = self.airflow.run(FLOW, run)["state"]
            self.expect(state != "failed", f"{FLOW} {partition} must go through")
            if state == "success":
                return
            self.vote(partition, answers)
            time.sleep(0.3)
        self.expect(False, f"{FLOW} {partition} is not through after {timeout:.0f} s")

    def desk(self, person: str) -> Seat:
        """Where somebody sits, logged in."""
        if person not in self._desks:
            self._desks[person] = self._people(person)
        return self._desks[person]

    def _over_http(self, person: str) -> Seat:
        return OverHttp(self.demo.services.airflow_url, person, self.demo.services.users[person])

    def vote(self, partition: str, answers: Votes) -> int:
        """Let people answer on the page Actions what is open for a partition; returns how many requests were answered."""
        from baton.actions import requests
        from baton.record import warehouse

        open_ones = [one for one in requests.still_open(FLOW, partition) if one.id not in self._asked]
        for request in open_ones:
            self._asked.add(request.id)
            for vote in answers(request):
                form, button = f"/actions/requests/{request.id}", BUTTONS[vote.answer]
                self.desk(vote.person).press("actions", form, button, typed={"reason": vote.reason})
                with warehouse.read() as conn:
                    after = requests.find(conn, request.id)
                self.votes.append({
                    "request": request.id, "partition": partition, "incident": request.entity_key, "action": request.kind,
                    "target": request.target, "level": request.level, "person": vote.person, "answer": vote.answer,
                    "before": request.action["before"], "after": request.action["after"], "state": after.state,
                })  # fmt: skip
        return len(open_ones)

    # --- what a person does at the command line -----------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """The kill switch."""
        self.command("actions", "stop", "--reason", reason)

    def start(self) -> None:
        """Effects may begin again."""
        self.command("actions", "start")

    def take_back(self, effect: Effect) -> None:
        """`baton undo` of a delivered effect; people agree; waits until it is delivered."""
        self.command("undo", effect.key, "--reason", "taken back in the demo")
        self.vote(effect.partition, agree)
        run = self.airflow.trigger(UNDO, conf={"flow": effect.flow, "partition": effect.partition})
        self.expect_all(self.airflow.wait(UNDO, [run], timeout=120))
        now = next(one for one in self.effects(effect.kind, str(effect.target)) if one.key == effect.key)
        self.expect(now.undone_at is not None, f"{effect.kind} on {effect.target} must be taken back")

    def command(self, *words: str) -> str:
        """A command of `baton`, as a person types it; returns what it says."""
        program = Path(sys.executable).with_name("baton")
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
        self.expect(done.returncode == 0, f"`baton {' '.join(words)}`: {done.stdout}{done.stderr}")
        return done.stdout

    # --- looking ----------------------------------------------------------------------------------------------------

    def effects(self, kind: str, target: str = "") -> list[Effect]:
        """Effects of the flow of one kind, of all partitions; their undoes left out."""
        from baton.effects import outbox

        found = outbox.effects(FLOW, kind=kind)
        return [one for one in found if not one.undoes and target in ("", one.target)]

    def carried_out(self) -> list[dict[str, Any]]:
        """All that firewall, directory and tickets have done, as they keep it."""
        return [one for part in PARTS for one in self.security.actions(part)]

    def sent(self, kind: str, target: str = "") -> list[Effect]:
        """Those of `effects` that were delivered."""
        return [one for one in self.effects(kind, target) if one.state == "sent"]
