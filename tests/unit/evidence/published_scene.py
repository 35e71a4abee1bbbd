"""The stage of the tests of packs about flows and decisions: two published partitions, of one entity all that may be on record.

Test modules load it by path, because tests are no package: `SCENE = runpy.run_path(...)`.
"""

from __future__ import annotations

import json
import random
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baton.console.queries.lineage import lineage
from baton.evidence import decision, flow, from_ledger
from baton.feedback.cases import decide
from baton.keys import signing_key
from baton.record import ledger, tables, warehouse
from baton.registry.manifest import DOMAIN
from baton.settings import settings

ROWS = runpy.run_path(str(Path(__file__).parents[1] / "console" / "console_rows.py"))
COLUMNS = ROWS["CONTRACT"]["columns"]
COLUMNS["transaction_id"]["pii"] = "none"  # the key: it says who it is, whatever its contract says
COLUMNS["event_time"]["pii"] = COLUMNS["v10"]["pii"] = None  # as a contract that does not mark them
FLOW, KEYS = ROWS["FLOW"], ("2026-11-20T09:00:00", "2026-11-20T10:00:00")
SECRETS = (b"Ada Example", b"10.9.8.7", b"she called at noon", b"a reason of hers")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """Two published partitions; a case of the second decided, an effect of it permitted; yields the entity and what gives files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATON_HOME", str(tmp_path_factory.mktemp("home")))
        settings.cache_clear()
        warehouse.migrate()
        yield filled(tmp_path_factory.mktemp("model"))
        warehouse.engine().dispose()
    settings.cache_clear()


def filled(folder: Path) -> tuple[str, Any]:
    rng = random.Random(3)
    for number, key in enumerate(KEYS):
        cased = ROWS["publish_partition"](
            key, range(87654320 + 4 * number, 87654324 + 4 * number), rng, version=number + 1
        )
    entity = cased[0]
    decide(FLOW, entity, "fraud", "ada", "she called at noon")
    named = {"flow": FLOW, "partition": KEYS[1], "entity_key": entity}
    at = warehouse.now()
    effect = {**named, "key": f"{FLOW}:{entity}", "kind": "block", "payload": {"ip": "10.9.8.7"}, "state": "sent", "attempts": 1,
              "created_at": at, "updated_at": at, "sent_at": at, "target": "10.9.8.7"}  # fmt: skip
    asked = {**named, "effect": effect["key"], "kind": "block", "target": "10.9.8.7", "pack": "p", "level": "approve", "rule": "r",
             "needs": 1, "reasons": ["a reason of hers"], "requester": f"flow:{FLOW}", "action": {"target": "10.9.8.7"}, "subject": "s",
             "seen": "x", "evidence": "[]", "policy": "p", "state": "approved", "opened_at": at, "updated_at": at, "expires_at": at}  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(tables.outbox.insert().values(effect))
        number = conn.execute(tables.requests.insert().values(asked).returning(tables.requests.c.id)).scalar_one()
        conn.execute(tables.votes.insert().values(request=number, person="7", name="ben", answer="approved", reason="a reason of hers",
                                                  seen="x", channel="console", at=at))  # fmt: skip
        conn.execute(tables.permits.insert().values(effect=effect["key"], request=number, pack="p", level="approve", rule="r",
                                                    subject="s", policy="p", nonce="n", issued_at=at, expires_at=at,
                                                    used_at=at, used_by=effect["key"]))  # fmt: skip
        verdict = {"decision": "PROMOTE", "reasons": ["better"], "champion_version": 1}
        conn.execute(tables.approvals.insert().values(model="card_fraud", version=2, verdict=verdict, answer="approved", reviewer="ada",
                                                      channel="airflow", judged_at=at, answered_at=at))  # fmt: skip
        for kind, subject, payload in (
            ("gate_verdict", "card_fraud/2", {"decision": "PROMOTE", "reasons": ["better"], "champion": 1}),
            ("approval", "card_fraud/2", {"answer": "approved", "reviewer": "ada", "channel": "airflow"}),
            ("alias_moved", "card_fraud", {"alias": "champion", "version": 2, "before": 1}),
            ("permit_used", f"{FLOW}/{KEYS[1]}/{entity}", {"target": "10.9.8.7"}),
        ):
            ledger.append(conn, kind, subject, payload)
    raw = json.dumps({"format": 1, "identity": {}, "files": {}}).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sig").write_bytes(signing_key(settings().keys_dir).sign(DOMAIN + raw))
    return entity, lambda model, version: folder if (model, version) == ("card_fraud", 2) else "the registry lost it"


def of_flow(scene: tuple[str, Any], as_of: str = "") -> bytes:
    return flow.evidence(FLOW, settings().keys_dir, scene[1], as_of=as_of)


def of_decision(scene: tuple[str, Any], as_of: str = "") -> bytes:
    line = lineage(FLOW, scene[0])
    assert line.published is not None
    checked = [(one.commit, one.row) for one in line.checked]
    basis = decision.Basis(
        FLOW, scene[0], line.partition, line.decision, line.scores, line.published, checked, line.sources
    )
    return decision.evidence(basis, settings().keys_dir, scene[1], as_of=as_of)


def lines(files: dict[str, bytes], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files[name].splitlines()]


def committed(partition: str) -> str:
    """When the ledger has the newest result of a partition."""
    with warehouse.read() as conn:
        found = from_ledger.about(conn, [f"{FLOW}/publish/{partition}"], 10**9, ["dataset_committed"])
    return str(found[-1]["at"])
