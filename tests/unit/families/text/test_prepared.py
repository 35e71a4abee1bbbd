"""Texts are encoded once, by a stage; what comes after takes the vectors and gives the same as without."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from baton.errors import ModelError
from baton.families.text.family import Text


@pytest.fixture(scope="module")
def seen(case):
    """Two candidates that see vectors: spec, rows, their vectors, and what was trained without these."""
    _, vectors, blend = (one.model_dump(exclude_none=True) for one in case.spec().candidates)
    one = case.spec(
        candidates=[
            vectors,
            {**vectors, "name": "firm", "params": {"C": 1.0}},
            {**blend, "ensemble": ["vectors", "firm"]},
        ]
    )
    frame = case.texts(200)
    return SimpleNamespace(
        spec=one, frame=frame, vectors=Text(case.WordVectors()).prepare(one, frame), plain=case.train(one, frame)
    )


def test_candidates_and_winner_ask_for_no_text_a_second_time(seen, case):
    assert list(seen.vectors["entity_key"]) == list(seen.frame["mail_id"])  # who is erased goes from here too
    encoder = case.WordVectors()
    _, board, model = case.train(seen.spec, seen.frame, Text(encoder).prepared(seen.vectors))
    assert encoder.asked == 0
    assert [row["value"] for row in board.rows] == [row["value"] for row in seen.plain[1].rows]
    new = case.texts(30, seed=5)
    said, before = model.predict(new), seen.plain[2].predict(new)
    assert encoder.asked >= len(new)
    np.testing.assert_array_equal(said.probability, before.probability)
    np.testing.assert_array_equal(said.strangeness, before.strangeness)


def test_a_model_made_of_prepared_vectors_names_the_encoder_that_made_them(seen, case, tmp_path):
    _, _, model = case.train(seen.spec, seen.frame, Text(case.WordVectors("b" * 64)).prepared(seen.vectors))
    model.save(tmp_path)
    assert Text(case.WordVectors()).load(tmp_path).encoder.sha256 == "a" * 64
    with pytest.raises(ModelError, match="was made with the sentence encoder aaaaaaaaaaaa, here is bbbbbbbbbbbb"):
        model.predict(case.texts(3, seed=5))


def test_only_who_sees_vectors_waits_for_them(made):
    assert [made.spec.needs_prepared(one) for one in made.spec.candidates] == [False, True, False]
