"""What a task of the training depends on: whatever else changes in the YAML, it is not done again."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from baton.lifecycle import fit
from baton.stages.step import with_options

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
LOGISTIC = "  - {name: logistic, estimator: sklearn.linear_model.LogisticRegression}\n"
MAILS = """\
model: mails
family: text
owner: tests
description: What a mail is about
data: {entity: mail_id, time: at, text: [body], target: about}
training: {contract: orders, history: {source: orders}}
candidates:
  - {name: terms, estimator: sklearn.svm.LinearSVC}
  - {name: letters, estimator: sklearn.svm.LinearSVC, letters: [2, 3]}
reject: {max_false_rejects: 0.04}
"""


@pytest.fixture
def models(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        (folder / "models" / "mails.yaml").write_text(MAILS)
        yield folder / "models"


def states(model: str, *candidates: str) -> list[Mapping[str, Any]]:
    """What the digests of these candidates, and that of the registration, hold of the spec."""
    found = []
    for step, options in [*((fit.candidate, {"candidate": name}) for name in candidates), (fit.register, {})]:
        job = STAGE["job"](options={"model": model, **options})
        found.append(step.look(with_options(job, step.options))[1])
    return found


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_a_further_candidate_leaves_the_others_as_they_are(models: Path) -> None:
    before = states("late_order", "logistic")
    change(
        models / "late_order.yaml",
        LOGISTIC,
        LOGISTIC + LOGISTIC.replace("logistic,", "stronger,").replace("}", ", params: {C: 9}}"),
    )
    after = states("late_order", "logistic")
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize(
    ("old", "new", "anew"),
    [
        ("max_false_rejects: 0.04", "max_false_rejects: 0.1", []),
        ("letters: [2, 3]", "letters: [2, 4]", ["letters"]),
        ("history: {source: orders}", "history: {source: orders}, seed: 8", ["terms", "letters"]),
        ("reject:", "validation: {folds: 3}\nreject:", ["terms", "letters"]),
        ("text: [body]", "text: [body, subject]", ["terms", "letters"]),
    ],
)
def test_a_candidate_is_tried_anew_where_what_it_sees_has_changed(
    models: Path, old: str, new: str, anew: list[str]
) -> None:
    before = states("mails", "terms", "letters")
    change(models / "mails.yaml", old, new)
    after = states("mails", "terms", "letters")
    changed = [one != other for one, other in zip(before, after, strict=True)]
    assert changed == ["terms" in anew, "letters" in anew, True]  # the registration always


def test_what_only_the_registration_reads_tries_nothing_anew(models: Path) -> None:
    before = states("mails", "terms")
    change(models / "mails.yaml", "reject:", "drift: {min_rows: 50}\nreject:")
    after = states("mails", "terms")
    assert (after[0], after[1] != before[1]) == (before[0], True)
