"""A model's life by its stages alone, on a real registry: trained, judged, approved, rolled back, watched, retrained.

The tests tell one story and build on each other, in the order of the file.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from baton.cli.app import app
from baton.console.queries.trace import trace
from baton.errors import BatonError, RegistryRefused
from baton.evidence import model as evidence
from baton.evidence import verifier
from baton.lifecycle.assemble import record_start
from baton.lifecycle.monitor import judge_windows
from baton.lifecycle.promote import is_champion, version_to_judge
from baton.record import ledger, tables
from baton.record.warehouse import read, write
from baton.recovery import secrets
from baton.registry.client import ALIAS_MOVED, Registry
from baton.registry.manifest import public_key, verify
from baton.registry.review import champion_moved
from baton.services.mlflow_server import at_hand
from baton.services.plan import prepare_home
from baton.settings import settings
from baton.stages.slots import Slot, head
from baton.steps.ingest import choose_models

pytestmark = pytest.mark.timeout(300)

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("lifecycle_shop.py")))
MODEL, FLOW, HOURS = SHOP["MODEL"], SHOP["FLOW"], SHOP["HOURS"]
train, judge, move, flow, tell, orders = (SHOP[name] for name in ("train", "judge", "move", "flow", "tell", "orders"))
ANSWER: Any = runpy.run_path(str(Path(__file__).parents[1] / "approving.py"))["answer"]
WEAK, GOOD = "C: 0.0000001", "C: 1.0"


@pytest.fixture(scope="module")
def yaml(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with SHOP["installed"](tmp_path_factory.mktemp("site"), workbench.home) as path:
        yield path


@pytest.fixture
def home(workbench: Any, yaml: Path) -> Path:
    """The running services' home instead of one for this test alone."""
    return workbench.home


def moves() -> list[int]:
    """Versions that became champion, oldest first."""
    return [entry.payload["version"] for entry in reversed(ledger.entries(subject=MODEL, kind=ALIAS_MOVED))]


def judged(hour: int) -> int:
    """How often the window of an hour was judged."""
    return len(ledger.entries(subject=f"{MODEL}/{HOURS[hour]}", kind="window_judged"))


def watch() -> dict[str, Any]:
    return judge_windows(MODEL, FLOW)


def requests() -> list[str]:
    with read() as conn:
        return list(conn.execute(select(tables.retrains.c.partition).order_by(tables.retrains.c.id)).scalars())


# --- training and promotion ---


def test_without_a_champion_nothing_is_judged_or_scored(home: Path) -> None:
    with pytest.raises(BatonError, match="has no challenger: trigger late_order_train first"):
        version_to_judge(MODEL)
    with pytest.raises(BatonError, match="no champion yet: trigger late_order_train, then approve"):
        choose_models(FLOW, HOURS[0], [MODEL], "recorded")


def test_a_version_becomes_champion_by_gate_and_answer_only(home: Path) -> None:
    facts = train().facts
    assert (facts["version"], facts["winner"], facts["since"]) == (1, "logistic", None)
    assert Registry().aliases(MODEL) == {"challenger": 1}
    assert version_to_judge(MODEL) == 1

    with pytest.raises(BatonError, match="late_order version 1 is not approved"):
        move(1)  # never judged
    verdict = judge(1)
    assert verdict.facts["decision"] == "PROMOTE", verdict.facts
    assert verdict.facts["champion"] is None
    with pytest.raises(BatonError, match="not approved"):
        move(1)  # judged, not answered
    ANSWER(MODEL, 1, "ada", answer="refused")
    with pytest.raises(BatonError, match="not approved"):
        move(1)
    assert moves() == []

    assert judge(1).cached  # a new request for the same version on the same evidence
    ANSWER(MODEL, 1, "ada")
    assert move(1).facts["previous"] is None
    assert is_champion(MODEL, 1)
    assert move(1).cached
    assert moves() == [1]


def test_the_same_trigger_again_gives_the_same_version(home: Path) -> None:
    again = train()
    assert again.cached
    assert again.facts["version"] == 1


def test_changed_params_train_a_new_version_on_the_same_rows(home: Path, yaml: Path) -> None:
    yaml.write_text(yaml.read_text().replace(WEAK, GOOD))
    facts = train().facts
    assert facts["version"] == 2
    first, second = (Registry().identity(MODEL, version) for version in (1, 2))
    assert first.dataset == second.dataset

    verdict = judge(2).facts
    assert (verdict["decision"], verdict["champion"]) == ("PROMOTE", 1), verdict
    ANSWER(MODEL, 2, "ada", channel="registry")
    assert move(2).facts["previous"] == 1
    assert Registry().aliases(MODEL) == {"champion": 2, "previous_champion": 1}


def test_words_of_the_yaml_that_no_model_depends_on_train_nothing(home: Path, yaml: Path) -> None:
    yaml.write_text(yaml.read_text().replace("owner: tests", "owner: other"))
    assert train().facts["version"] == 2


def test_after_a_rollback_only_a_new_answer_moves_the_alias_again(home: Path) -> None:
    registry = Registry()
    assert registry.rollback(MODEL, actor="ada", reason="test") == 1
    assert move(2).cached  # the task cleared in Airflow: the old answer was used up
    assert registry.alias(MODEL, "champion") == 1

    again = judge(2)
    assert not again.cached
    with pytest.raises(BatonError, match="not approved"):
        move(2)  # judged anew, so the old answer is gone
    ANSWER(MODEL, 2, "grace")
    move(2)
    assert registry.alias(MODEL, "champion") == 2
    assert moves() == [1, 2, 1, 2]
    assert ledger.entries(subject=MODEL, kind=ALIAS_MOVED)[0].payload["actor"] == "grace"
    assert champion_moved(MODEL, registry.alias(MODEL, "champion"), registry.recorded_champion(MODEL)) is None


def test_a_worse_version_is_held_whatever_anybody_answers(home: Path, yaml: Path) -> None:
    text = yaml.read_text()
    yaml.write_text(text.replace(GOOD, WEAK))
    assert train().facts["version"] == 3
    verdict = judge(3).facts
    assert (verdict["decision"], verdict["champion"]) == ("HOLD", 2), verdict
    for act in (lambda: ANSWER(MODEL, 3, "ada"), lambda: move(3)):
        with pytest.raises(RegistryRefused, match="late_order version 3 is not approved: the gate says HOLD"):
            act()
    assert Registry().alias(MODEL, "champion") == 2
    yaml.write_text(text)


# --- the versions of a partition ---


def test_an_alias_moved_by_hand_moves_nothing(home: Path) -> None:
    registry = Registry()
    for version in (3, 2):
        registry.rest.post("/registered-models/alias", name=MODEL, alias="champion", version=str(version))
        chosen, degraded, _ = choose_models(FLOW, "2026-01-01T00:00:00", [MODEL], "recorded")
        assert chosen == {MODEL: 2}
        assert [said.partition(":")[2] for said in degraded] == [
            " champion is version 3, but the ledger says version 2: moved outside Baton; the version of the ledger scores"
        ] * (version != 2)
        assert is_champion(MODEL, 2)
    assert [entry.payload["version"] for entry in ledger.entries(subject=MODEL, kind="foreign_alias")] == [3]


def test_a_partition_keeps_the_version_it_was_scored_with(home: Path) -> None:
    flow(home, 0)
    with pytest.raises(BatonError, match=r"allowed are recorded, champion, late_order=<version>"):
        choose_models(FLOW, HOURS[0], [MODEL], "late_order=latest")
    assert choose_models(FLOW, HOURS[0], [MODEL], f"{MODEL}=1") == ({MODEL: 1}, [], True)
    with pytest.raises(RegistryRefused, match="late_order version 3 was never promoted"):  # held by the gate
        choose_models(FLOW, HOURS[0], [MODEL], f"{MODEL}=3")
    assert choose_models(FLOW, HOURS[0], [MODEL], f"{MODEL}=3", dry_run=True) == ({MODEL: 3}, [], True)
    Registry().rollback(MODEL, actor="ada", reason="test")
    assert choose_models(FLOW, HOURS[0], [MODEL], "recorded") == ({MODEL: 2}, [], False)
    assert choose_models(FLOW, HOURS[0], [MODEL], "champion") == ({MODEL: 1}, [], True)
    Registry().rollback(MODEL, 2, actor="ada", reason="test")  # without a number there is nothing further back

    steps = trace(str(orders(0)["order_id"].iloc[4]), FLOW)
    assert [step.what for step in steps] == ["source", "contract", "score", "version", "gate", "approval"]
    assert "row 5 of " in steps[0].says
    assert steps[-1].says == "approved by grace (airflow)"


# --- the monitor ---


def test_windows_are_judged_in_order_each_once(home: Path) -> None:
    flow(home, 2)
    SHOP["ingest"](home, 1)  # under way
    outcome = watch()
    assert [window["partition"] for window in outcome["windows"]] == HOURS[:1]
    assert (outcome["partition"], outcome["decision"]) == (HOURS[0], "STABLE"), outcome
    assert [judged(hour) for hour in range(3)] == [1, 0, 0]

    flow(home, 1)
    outcome = watch()
    assert (outcome["partition"], outcome["decision"]) == (HOURS[2], "STABLE"), outcome
    assert watch()["report"] is None  # nothing new
    assert [judged(hour) for hour in range(3)] == [1, 1, 1]


def test_a_run_given_up_does_not_hold_up_the_windows_after_it(home: Path) -> None:
    raw, _ = SHOP["ingest"](home, 3)
    flow(home, 4)
    assert watch()["partition"] == HOURS[2]
    with write() as conn:
        old = {"created_at": "2026-01-01T00:00:00.000000Z"}
        conn.execute(update(tables.commits).where(tables.commits.c.id == raw.commit_id).values(old))
    outcome = watch()
    assert outcome["partition"] == HOURS[4]
    assert outcome["windows"][3]["status"] == "missing"


def test_a_relabelled_window_is_judged_again(home: Path) -> None:
    truth = orders(4)
    tell(home, 4, truth)
    watch()
    assert judged(4) == 2
    with read() as conn:
        where = (tables.drift_windows.c.partition == HOURS[4]) & (tables.drift_windows.c.model == MODEL)
        performance = conn.execute(select(tables.drift_windows.c.performance).where(where)).scalar_one()
    assert (performance["positives"], performance["rows"]) == (30, 150)

    flipped = truth.assign(late=truth["late"].iloc[::-1].to_numpy())  # as many positives, other ones
    tell(home, 4, flipped)
    watch()
    assert judged(4) == 3
    tell(home, 4, flipped)  # the same delivery again
    watch()
    assert judged(4) == 3
    tell(home, 4, truth)
    watch()


def test_a_superseded_window_is_judged_against_the_version_that_scores_it_now(home: Path) -> None:
    with write() as conn:
        conn.execute(tables.partition_models.delete().where(tables.partition_models.c.partition == HOURS[2]))
    flow(home, 2, choice=f"{MODEL}=1")
    before = judged(2)
    outcome = watch()
    assert judged(2) == before + 1
    assert outcome["partition"] == HOURS[4]


def test_what_is_on_record_of_a_version_is_proven_by_its_evidence(home: Path) -> None:
    version = moves()[-1]
    folder = Registry().verified(MODEL, version)
    data = evidence.evidence(MODEL, version, home / "keys", folder)
    verdicts, found, well = verifier.verify(data, str(home / "ledger" / "evidence.pub"), model=str(folder))
    assert well, found
    assert set(verdicts.values()) == {"ok"}
    proven = "\n".join(line for verdict, line in found if verdict == "proven")
    assert all(
        name in proven for name in ("gate.jsonl", "approvals.jsonl", "drift.jsonl", "are those that were signed")
    )
    said = CliRunner().invoke(app, ["asof", ledger.entries(limit=1)[0].at, f"model:{MODEL}", "--json"]).stdout
    then = json.loads(said)
    assert (then["version"], then["manifest"]) == (version, verify(folder, public_key(home / "keys")).digest)
    assert None not in [then[name] for name in ("gate", "approval", "registered", "spec", "contract", "code")]
    assert then["dataset"] == then["registered"]["says"]["dataset"]


def test_drift_asks_for_training_once_and_waits_for_labels_first(home: Path) -> None:
    flow(home, 5, drifted=True)
    assert watch()["decision"] == "WARN"
    flow(home, 6, drifted=True)
    outcome = watch()
    assert outcome["decision"] == "WAITING_FOR_LABELS", outcome
    assert requests() == []

    for hour in (5, 6):
        tell(home, hour, orders(hour, drifted=True))
    outcome = watch()
    assert (outcome["decision"], outcome["request"], outcome["since"]) == ("RETRAIN", HOURS[6], HOURS[5]), outcome
    assert {"x1", "x2"} <= set(outcome["features"])
    again = watch()  # a crash between record and event loses nothing
    assert (again["decision"], again["request"]) == ("RETRAIN", HOURS[6])
    flow(home, 7, drifted=True)
    again = watch()
    assert (again["decision"], again["request"], again["partition"]) == ("RETRAIN", HOURS[6], HOURS[7])
    assert requests() == [HOURS[6]]


def test_after_training_has_started_the_monitor_pauses(home: Path) -> None:
    facts = train(since=HOURS[5]).facts
    assert facts["version"] == 4
    assert head(Slot(f"{MODEL}_train", "register", HOURS[6])) is not None  # named by what it knows
    outcome = watch()
    assert (outcome["decision"], outcome["request"]) == ("COOLDOWN", None), outcome
    assert requests() == [HOURS[6]]

    verdict = judge(4).facts
    assert (verdict["decision"], verdict["champion"]) == ("PROMOTE", 2), verdict


def test_drift_that_lasts_asks_again_after_the_pause_until_the_budget_is_used_up(home: Path) -> None:
    flow(home, 8, drifted=True)
    outcome = watch()
    assert (outcome["decision"], outcome["request"]) == ("RETRAIN", HOURS[8]), outcome
    assert requests() == [HOURS[6], HOURS[8]]
    record_start(MODEL)  # its DAG starts; nothing was labelled since, so every stage would be cached
    for hour in (9, 10):
        flow(home, hour, drifted=True)
    outcome = watch()
    assert outcome["decision"] == "DRIFT"
    assert "the budget of 2 retrainings per 7d is used up" in outcome["reasons"][-1]
    assert requests() == [HOURS[6], HOURS[8]]


def test_an_answer_counts_only_while_the_champion_is_the_one_that_was_compared(home: Path) -> None:
    ANSWER(MODEL, 4, "ada")
    registry = Registry()
    registry.rollback(MODEL, actor="ada", reason="test")
    with pytest.raises(RegistryRefused, match="champion is version 1, but the gate compared with 2; judge again"):
        move(4)
    assert registry.aliases(MODEL) == {"challenger": 4, "champion": 1}
    registry.rollback(MODEL, 2, actor="ada", reason="test")


def test_a_new_champion_starts_without_the_windows_of_the_old_one(home: Path) -> None:
    assert not judge(4).cached  # the champion moved twice since
    ANSWER(MODEL, 4, "ada")
    move(4)
    flow(home, 11, drifted=True)
    outcome = watch()
    assert outcome["decision"] in {"STABLE", "WARN"}, outcome  # one window is no persistence
    assert ledger.verify().ok


# --- the machine is lost ---

KNOWN = {
    "connections": {"desk": {"conn_type": "http", "description": None, "host": "desk.example", "schema": "https", "login": "baton",
                             "password": "open sesame", "port": 8443, "extra": '{"a": 1}'}},
    "variables": {"limit": {"value": "12 apples", "description": "of fruit"}},
}  # fmt: skip


def test_a_restored_machine_goes_on_where_the_backup_was_taken(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_home(settings())
    secrets.give_airflow(settings(), KNOWN)
    words, shelf = tmp_path / "words", tmp_path / "shelf"
    words.write_text("correct horse battery staple\n")
    sealed = ["--passphrase-file", str(words)]
    assert run("backup", str(shelf), *sealed).exit_code == 0
    assert [path.name for path in shelf.rglob("*") if path.is_file() and b"open sesame" in path.read_bytes()] == []
    flow(home, 12, drifted=True)  # after the backup: lost
    assert "a restore writes over nothing" in run("restore", str(shelf), *sealed).stderr

    monkeypatch.delenv("BATON_MLFLOW_TRACKING_URI")
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "new"))
    settings.cache_clear()
    done = run("restore", str(shelf), *sealed)
    assert done.exit_code == 0, done.output + done.stderr
    assert re.search(r"\d+ datasets, 4 model versions: all as written", done.stdout), done.stdout
    assert json.loads(secrets.gather(settings()))["airflow"] == KNOWN

    with at_hand(tmp_path / "new") as url:
        monkeypatch.setenv("BATON_MLFLOW_TRACKING_URI", str(url))
        settings.cache_clear()
        assert Registry().aliases(MODEL) == {"champion": 4, "previous_champion": 2}
        (tmp_path / "new/landing/shop").mkdir(parents=True)
        assert head(Slot(FLOW, "publish", HOURS[12])) is None
        assert flow(tmp_path / "new", 12, drifted=True).models == {
            MODEL: 4
        }  # the model comes from the restored registry
        new = run("verify", "--new")
        assert (new.exit_code, "0 model versions since the last check: all" in new.stdout) == (0, True), new.output
        folder = next((tmp_path / "new/mlflow/artifacts").rglob("manifest.sig"))
        folder.write_bytes(bytes(64))
        said = run("verify")
        assert (said.exit_code, "manifest.sig: signature does not belong" in said.stdout) == (1, True), said.output


def run(*words: str) -> Any:
    return CliRunner().invoke(app, words, env={"COLUMNS": "500"})
