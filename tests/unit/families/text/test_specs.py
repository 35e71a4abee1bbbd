"""Specs of text models: what is refused, and what lint says of a pack with one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from baton.authoring.lint import lint

TERMS = {"name": "terms", "estimator": "sklearn.svm.LinearSVC"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"candidates": [TERMS | {"words": [2, 1]}]}, "the shorter first"),
        ({"candidates": [TERMS | {"words": None}]}, "no term is left"),
        ({"candidates": [TERMS | {"kernel": {}}]}, "only for features embeddings or both"),
        ({"candidates": [TERMS | {"min_texts": 1}]}, "greater than or equal to 2"),
        ({"candidates": [TERMS | {"estimator": "sklearn.ensemble.RandomForestClassifier"}]}, "family classification"),
        ({"candidates": [TERMS | {"estimator": "os.system"}]}, "allow-list"),
        ({"candidates": [TERMS, {"name": "mix", "ensemble": ["terms", "other"]}]}, "no earlier candidate"),
        ({"training": {"contract": "mails", "history": {"source": "mails"}, "min_per_class": 2}}, "validation.folds"),
        ({"data": {"entity": "mail_id", "time": "at", "text": ["kind"], "target": "kind"}}, "target itself"),
        ({"reject": {"max_false_rejects": 0.0}}, "max_false_rejects"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(case, changes, said):
    with pytest.raises(ValidationError, match=said):
        case.spec(**changes)


def test_drift_needs_labelled_texts(case):
    assert case.spec().drift.needed == (50, "labelled texts")


MODEL = """\
model: kind_of_mail
family: text
owner: desk
description: sorts mails
data: {entity: mail_id, time: at, text: [subject, pages], target: kind}
training: {contract: mails, history: {source: mails}}
candidates:
  - {name: terms, estimator: sklearn.svm.LinearSVC, params: {c: 1.0}}
"""
CONTRACT = """\
contract: mails
version: 1
owner: desk
description: mails with their kind
key: mail_id
columns:
  mail_id: {type: str}
  at: {type: timestamp}
  subject: {type: str}
  pages: {type: int}
"""
SOURCES = """\
mails: {kind: file, description: mails, path: "{landing}/{partition}.csv", history: "{pack}/mails.csv"}
"""


def test_lint_names_text_columns_of_a_wrong_type_a_missing_class_and_unknown_arguments(tmp_path):
    for name, text in {
        "models/kind_of_mail.yaml": MODEL,
        "contracts/mails.yaml": CONTRACT,
        "sources.yaml": SOURCES,
        "governance.yaml": "default: {owner: ann, deputy: bob, impact: low, intended_use: mails, review: 2030-01-01}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "mails.csv").touch()
    found = {(one.field, one.message.split(";")[0]) for one in lint([tmp_path])}
    assert {field for field, _ in found} == {"data.text[1]", "data.target", "candidates[0].params.c"}
    assert any("pages` is int" in message for _, message in found)
