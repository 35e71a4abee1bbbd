"""1,000 documents in one batch through everything that `document_intake` does but the language model, on this machine.

The same stages as the DAG's, run one after another under the slot protocol in a home of its own: drop folder, reader,
contract (Great Expectations), three models, fields, features, decision, letters, outbox, mails as files. The models are
fitted here on what the pack's recording filed before; the registry's part (milliseconds) is left out.

    make bench NAME=intake
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

COUNT, PARTITION = 1000, "2026-01-05T09:00:00"
TARGET = 60.0  # seconds
MODELS = {"type": "document_type", "intent": "document_intent", "risk": "document_risk"}


@contextmanager
def own_home(folder: Path) -> Iterator[None]:
    """A BATON_HOME that shares the prepared data only."""
    from baton.record import warehouse
    from baton.settings import settings

    data = settings().data_dir
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(data)
    before = os.environ.get("BATON_HOME")
    os.environ["BATON_HOME"] = str(folder)
    settings.cache_clear()
    try:
        warehouse.migrate()
        yield
    finally:
        warehouse.engine().dispose()
        os.environ.pop("BATON_HOME") if before is None else os.environ.update(BATON_HOME=before)
        settings.cache_clear()
        shutil.rmtree(folder, ignore_errors=True)


def fitted(names: dict[str, str]) -> dict[str, tuple[Any, Any, Any]]:
    """Part -> (spec, family, model), trained on the pack's history."""
    from baton.contracts import check as contracts
    from baton.data import identity
    from baton.data import typed as parsing
    from baton.families import family
    from baton.feedback.known_rows import known_rows
    from baton.packs.pack import find_model

    found = {}
    for part, name in names.items():
        pack, spec = find_model(name)
        contract = pack.contract(spec.training.contract)
        rows = identity.with_row_identity(known_rows(pack, spec), spec.model)
        parsed = parsing.parse(rows, contract)
        frame = contracts.good_rows(parsed, contracts.check(parsed, contract))
        maker = family(spec.family)
        singles = [one for one in spec.candidates if one.estimator]
        scores = {one.name: maker.validate(spec, one, frame)[0] for one in singles}
        found[part] = (spec, maker, maker.fit(spec, frame, maker.rank(spec, frame, scores), scores))
    return found


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Seconds for the batch, whole and by stage."""
    from baton.packs.demos import prepare_data

    prepare_data("customer_experience")
    with own_home(out / "intake_home"):
        models = fitted(MODELS)
        deliver(seed)
        seconds, facts = through(models)
    whole = sum(seconds.values())
    stages = "; ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    notes = f"{facts['documents']} documents, {facts['letters']} letters left to templates, {facts['mails']} mails; {stages}"
    return [{
        "name": "intake of 1,000 documents without a language model", "value": round(whole, 1), "unit": "s",
        "target": TARGET, "larger_is_better": False, "notes": notes, "seed": seed, "load": os.getloadavg()[0],
        "ratio": None, "peer": None, "peer_value": None,
    }]  # fmt: skip


def deliver(seed: int) -> None:
    """Files in the hour's drop folder."""
    from baton.data.partitions import safe_name
    from baton.settings import settings
    from baton_demo.customer_experience.documents import deliveries as simulate

    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    frame, _ = simulate.documents(COUNT, seed, start, timedelta(hours=1) / COUNT)
    folder = settings().landing_dir / "documents" / safe_name(PARTITION)
    folder.mkdir(parents=True)
    for number, row in enumerate(frame.to_dict("records")):
        (folder / f"{number:04d} {row['name']}").write_bytes(row["content"])


def through(models: dict[str, tuple[Any, Any, Any]]) -> tuple[dict[str, float], dict[str, int]]:
    """(seconds by stage, counts)."""
    from baton.data.datasets import read
    from baton.effects import delivery, outbox
    from baton.effects.mail_folder import FileOutbox
    from baton.settings import settings
    from baton.stages.job import StageJob
    from baton.stages.run import run as run_job
    from baton.stages.slots import Slot, StageOutput, run_stage

    seconds: dict[str, float] = {}
    refs: dict[str, Any] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - began
        refs[name] = result.ref
        return result

    def stage(name: str, step: str, options: dict[str, Any] | None = None, **inputs: str) -> Any:
        given = {key: refs[value] for key, value in inputs.items()}
        path = step if ":" in step and step.startswith("baton.") else f"baton_packs.customer_experience.{step}"
        job = StageJob("customer_experience", "document_intake", name, PARTITION, path, given, options or {})
        return timed(name, lambda: run_job(job))

    def score(part: str, source: str) -> None:
        spec, maker, model = models[part]

        def compute(inputs: Any) -> StageOutput:
            frame = maker.score(spec, model, read(inputs["data"]), 0.02)
            return StageOutput(frame.assign(model=spec.model, version=1))

        slot = Slot("document_intake", f"score__{spec.model}", PARTITION)
        timed(
            part,
            lambda: run_stage(
                slot, compute, inputs={"data": refs[source]}, params={}, models={}, code="bench", run_id=""
            ),
        )

    stage("ingest", "baton.steps.ingest:ingest", {"source": "documents"})
    stage("parse", "intake.parse:parse", documents="ingest")
    stage("contract", "baton.steps.contract:contract", {"contract": "documents"}, data="parse")
    score("type", "contract")
    score("intent", "contract")
    stage("extract", "intake.stages:fields", parsed="contract")
    columns = ["document_id", "issuer", "invoice_number", "account_number", "total", "currency", "date", "sender"]
    stage("earlier", "baton.steps.earlier:rows", {"stage": "extract", "columns": columns}, after="extract")
    stage("features", "intake.stages:features", parsed="contract", fields="extract", past="earlier")
    score("risk", "features")
    decided = stage(
        "decide",
        "intake.stages:decide",
        documents="contract",
        fields="extract",
        type="type",
        intent="intent",
        risk="risk",
    )
    agent = {"agent": "baton_packs.customer_experience.letters.drafts:DOCUMENT_REPLY", "conn_id": ""}
    stage("draft", "baton.steps.advise:advise", agent, decisions="decide", documents="contract")
    stage("compose", "intake.stages:compose", decisions="decide", documents="contract", drafts="draft")
    placed = stage("answer", "letters.replies:place", decisions="compose")
    began = time.perf_counter()
    peer = FileOutbox(settings().home / "outbox" / "document_intake")
    done = delivery.deliver("mail", peer, "document_intake", PARTITION)
    seconds["send"] = time.perf_counter() - began
    assert done.sent == placed.facts["answers"] == len(outbox.effects("document_intake", PARTITION, "mail"))
    return seconds, {"documents": decided.ref.rows, "letters": decided.facts["letters"], "mails": done.sent}
