"""What a drift reference depends on besides the rows: how long a partition is."""

from __future__ import annotations

import pytest

from baton.lifecycle.assemble import ModelOptions
from baton.lifecycle.fit import register
from baton.stages.job import StageJob


@pytest.mark.parametrize(
    ("model", "step"), [("card_fraud", "1h"), ("demand", "7d"), ("document_type", "1h"), ("transaction_anomaly", None)]
)
def test_a_model_is_trained_anew_when_partitions_get_another_length(model: str, step: str | None) -> None:
    """Its drift reference is cut by it."""
    job = StageJob("p", f"{model}_train", "register", "history", "", options=ModelOptions(model=model))
    reference = register.look(job)[1]["reference"]
    assert (reference or {}).get("step") == step
