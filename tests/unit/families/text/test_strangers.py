"""What tells texts of unknown classes from known ones, and the model that weighs it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from baton.families.text import strangers
from baton.families.text.cases import Cases
from baton.families.text.features import members
from baton.families.text.features.traits import DIRECTIONS, PER_DIRECTION, Space, Usage


def test_a_word_that_the_given_class_never_uses_makes_a_text_unusual():
    texts = ["top up failed", "my top up failed", "top up reverted", "my top up reverted", "my top up reverted"]
    usage = Usage.fit(texts, np.array([0, 0, 1, 1, 1]), 2)
    assert list(usage.shared) == ["failed", "my", "reverted", "top", "up"]
    assert usage.sizes.tolist() == [2, 2]  # equal texts count once
    assert usage.used.tolist() == [[2, 1, 0, 2, 2], [0, 1, 2, 2, 2]]
    rare, unusual, length = usage.traits(["top up failed", "top up failed", ""], np.array([0, 1, 0]))
    own, sister = np.log((2 + 3 * 2 / 4) / 5), np.log((0 + 3 * 2 / 4) / 5)
    assert unusual == pytest.approx([-own / 3, -sister / 3, 0.0])
    assert rare[0] == rare[1]
    assert length.tolist() == pytest.approx([np.log(4), np.log(4), 0.0])
    assert usage.traits(["top up lost"], np.array([0]))[1] > unusual[0]  # a word that nobody uses


def test_a_word_of_one_text_alone_is_not_kept():
    usage = Usage.fit(["pay zebulon", "pay now", "pay now please", "pay zebulon"], np.array([0, 0, 1, 1]), 2)
    assert list(usage.shared) == ["now", "pay"]
    assert usage.used.shape == (2, 2)


def test_what_a_class_agrees_in_counts_more_than_the_distance_to_its_centre():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    vectors = np.zeros((120, 200))
    vectors[:60, :3] = rng.normal(size=(60, 3))  # a class varies widely in its own few directions
    vectors[60:, 3:6] = rng.normal(size=(60, 3))
    vectors += rng.normal(scale=0.02, size=vectors.shape)
    space = Space.fit(vectors, y, 2)
    far_inside, near_outside = np.zeros(200), np.zeros(200)
    far_inside[0], near_outside[100] = 2.0, 0.9
    inside, outside = space.traits(np.stack([far_inside, near_outside]))[-1]
    assert inside < 0.1
    assert outside > 0.6


def test_a_class_of_few_texts_gets_few_directions():
    vectors = np.random.default_rng(1).normal(size=(100, 40))
    vectors[91:] = vectors[90]  # equal texts count once
    axes = Space.fit(vectors, np.repeat([0, 1, 2], [70, 12, 18]), 3).axes
    assert axes.shape == (3, DIRECTIONS, 40)
    assert (np.linalg.norm(axes, axis=2) > 0.5).sum(axis=1).tolist() == [
        DIRECTIONS,
        12 // PER_DIRECTION,
        9 // PER_DIRECTION,
    ]


@pytest.fixture
def learn(case, monkeypatch):
    """Learn what is strange of texts with classes `y`, shape (n,); `seen` makes traits from (learnt, judged) positions.

    The texts are their positions, so that what is fitted on which of them can be seen; nothing else of a model is fitted.
    """

    def learnt(y, share, seen):
        spec = case.spec(
            candidates=[case.spec().candidates[0].model_dump()],
            reject={"max_false_rejects": share, "scope": "combined"},
        )
        count, classes = len(y), int(y.max()) + 1
        scores = np.random.default_rng(5).normal(size=(count, classes))
        found = pd.DataFrame(scores, columns=[f"raw_{one}" for one in range(classes)]).assign(fold=np.arange(count) % 3)
        texts, names, none = [str(at) for at in range(count)], [str(one) for one in range(classes)], pd.DataFrame()
        cases = Cases(texts, y, np.ones(count), names, {}, none, none)
        places = lambda texts: np.array([int(text) for text in texts])  # noqa: E731
        world = lambda texts, *_: SimpleNamespace(  # noqa: E731
            traits=lambda raw, scores, judged, vectors: seen(places(texts), places(judged))
        )
        member = lambda part, texts, y, weights, classes, *_: SimpleNamespace(  # noqa: E731
            raw=lambda judged, encoder: np.random.default_rng(6).normal(size=(len(judged), classes))
        )
        monkeypatch.setattr(strangers, "World", SimpleNamespace(fit=world))
        monkeypatch.setattr(members, "fit", member)
        return strangers.fit(spec, list(spec.candidates), np.ones(1), cases, {"terms": found}, None)

    return learnt


def test_the_detector_looks_hardest_near_the_line(learn):
    rng = np.random.default_rng(2)
    known = rng.normal(size=(3000, 2))
    easy = rng.normal(size=(2100, 2)) + np.array([3.0, -3.0])  # the first number tells
    hard = rng.normal(size=(900, 2)) + np.array([1.0, 2.0])  # the second one, which the easy ones speak against
    unknown = np.concatenate([easy, hard])
    y = rng.permutation(np.arange(3000) % 12)

    def seen(learnt, judged):
        return np.where(np.isin(y[judged], y[learnt])[:, None], known[judged], unknown[judged])

    def recall(strange: np.ndarray) -> float:
        line = np.quantile(strange[:3000], 0.96)
        return float((strange[3000:] > line).mean())

    both = np.concatenate([known, unknown])
    plain = LogisticRegression(class_weight="balanced").fit(both, np.repeat([0, 1], 3000)).decision_function(both)
    assert recall(learn(y, 0.04, seen).detector(both)) > recall(plain) + 0.02


def test_each_class_is_left_out_once_and_each_text_set_aside_once_at_most(learn):
    y, judged = np.random.default_rng(7).permutation(np.arange(420) % 13), []

    def seen(learnt, judge):
        assert not set(learnt) & set(judge)
        judged.append((set(y[learnt].tolist()), judge))
        return np.zeros((len(judge), 1))

    learn(y, 0.1, seen)
    judged = [(learnt, judge) for learnt, judge in judged if len(learnt) < 13]  # the others judge the folds
    stays = [np.isin(y[judge], list(learnt)) for learnt, judge in judged]
    aside = np.concatenate([judge[stay] for stay, (_, judge) in zip(stays, judged, strict=True)])
    out = np.concatenate([judge[~stay] for stay, (_, judge) in zip(stays, judged, strict=True)])
    assert len(set(aside)) == len(aside)
    assert len(aside) > 0.7 * len(y)
    assert sorted(out) == list(range(len(y)))
