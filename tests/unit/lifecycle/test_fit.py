"""What a task of the training depends on: whatever else changes in the YAML, it is not done again."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data.datasets import read
from baton.families.text import family as texts
from baton.lifecycle import fit
from baton.stages.run import run
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
  - {name: meaning, estimator: sklearn.svm.LinearSVC, features: embeddings}
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


class Lengths:
    """An encoder that sees the length of a text, and counts the texts that it is asked for."""

    sha256, size, asked = "a" * 64, 2, 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked += len(texts)
        return np.array([[len(text) % 7, 1.0] for text in texts], dtype=np.float32).reshape(-1, 2)


def test_texts_are_encoded_by_a_stage_and_by_no_candidate(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(models / "mails.yaml", "history: {source: orders}", "history: {source: orders}, min_rows: 20")
    encoder, number = Lengths(), np.arange(60)
    monkeypatch.setattr(texts, "packaged_encoder", lambda: encoder)
    tracker = SimpleNamespace(start_run=lambda *_, **__: "run", end_run=lambda _: None, run_url=lambda _: "")
    monkeypatch.setattr(fit, "Registry", lambda: tracker)
    frame = pd.DataFrame({
        "mail_id": number, "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(number, unit="h"),
        "body": [f"a parcel {one}" if one % 2 else f"the bill {one} is wrong" for one in number],
        "about": np.where(number % 2, "parcel", "bill"), "_part": "", "_weight": 1.0,
    })  # fmt: skip
    data = STAGE["commit"]("contract", 0, frame, flow="mails_train")
    of_model = {"model": "mails"}
    made = run(STAGE["job"]("prepare", "baton.lifecycle.fit:prepare", options=of_model, inputs={"data": data}))
    assert encoder.asked == 60
    assert sorted(read(made.ref)["entity_key"].astype(int)) == number.tolist()
    tried = STAGE["job"](
        "candidate__meaning", "baton.lifecycle.fit:candidate", options={**of_model, "candidate": "meaning"},
        inputs={"data": data, "prepared": made.ref},
    )  # fmt: skip
    assert run(tried).facts["value"] > 0.5
    assert encoder.asked == 60
