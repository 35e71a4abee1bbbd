"""What a policy may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from baton.errors import SpecError
from baton_packs.supply_chain.ordering import rules as ordering
from baton_packs.supply_chain.ordering.policies import ItemPolicy


def test_a_lead_time_of_zero_is_refused_and_the_error_says_what_to_write(policy) -> None:
    with pytest.raises(ValidationError, match=r"lead time of zero weeks is refused.*write 1"):
        policy(lead_time={0: 0.5, 1: 0.5})


@pytest.mark.parametrize("lead_time", [{}, {1: 0.5}, {1: 0.0, 2: 1.0}, {1: 0.7, 2: 0.7}])
def test_lead_times_must_be_a_distribution(policy, lead_time: dict[int, float]) -> None:
    with pytest.raises(ValidationError, match="add up to 1"):
        policy(lead_time=lead_time)


@pytest.mark.parametrize(
    "wrong", [{"pack_size": 0}, {"minimum_order": 0}, {"service_level": 1.0}, {"unit_cost": 0.0}, {"shelf_life_weeks": 0},
              {"unit_cost": "10"}, {"colour": "red"}, {"shortage_cost": 0.05}],
)  # fmt: skip
def test_other_nonsense_is_refused(policy, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        policy(**wrong)


def test_the_target_is_the_critical_ratio_with_the_service_level_as_floor(policy) -> None:
    assert policy(shortage_cost=4.0, holding_cost=0.1, service_level=0.9).target == pytest.approx(4.0 / 4.1)
    assert policy(shortage_cost=1.0, holding_cost=0.5, service_level=0.9).target == 0.9


def test_a_policy_survives_json_with_its_text_keys(policy) -> None:
    original = policy(lead_time={2: 0.3, 1: 0.7})
    assert ItemPolicy.model_validate(json.loads(json.dumps(original.model_dump(mode="json")))) == original
    assert list(original.lead_time) == [1, 2]


def test_express_is_offered_only_where_it_is_faster(policy) -> None:
    assert policy().express_lead is None
    assert policy(expedite_cost=0.5).express_lead == 1
    assert policy(expedite_cost=0.5, lead_time={3: 1.0}).express_lead == 2
    assert policy(expedite_cost=0.5, lead_time={1: 1.0}).express_lead is None


def test_a_mistake_in_the_rules_of_ordering_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "items.yaml"
    path.write_text(
        ordering.FILE.read_text().replace("pack_size: 24", "pack_sise: 24", 1).replace("seed: 7", "seed: 7.5")
    )
    with pytest.raises(SpecError) as refused:
        ordering.load(path)
    first, second = str(refused.value).splitlines()
    assert f"{path}:6: seed: is `7.5`" in first
    assert f"{path}:10: items[0].pack_sise: unknown field, did you mean `pack_size`?" in second
