"""A trained text model: probabilities, rejection, files, determinism, errors."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import skops.io

from baton.errors import ModelError
from baton.families.text.cases import folds, split, texts_of
from baton.families.text.family import Text
from baton.families.text.scope import Scope
from baton.registry.content import check_content
from baton.registry.identity import Identity


def accept(folder):
    """Raise what the registry would refuse of the model's files."""
    names = [path.name for path in folder.iterdir()]
    ours = {"flavors": {"baton": {"family": "text", "format": 1, "data": "."}}, "run_id": "r", "model_id": "m"}
    (folder / "MLmodel").write_text(json.dumps(ours))  # as MLflow writes it beside them
    check_content(folder, ["MLmodel", *names], Identity("kind_of_mail", "r", "m", "", "2026-01-01T00:00:00+00:00"))


def test_probabilities_add_up_and_the_scored_frame_is_complete(made, case):
    new = case.texts(60, seed=5)
    scored = made.family.score(made.spec, made.model, new, 0.0)
    assert list(scored) == ["entity_key", "category", "score", "accepted", "strangeness", "reasons", "_row"]
    assert ((scored["strangeness"] <= made.model.scope.threshold) == scored["accepted"]).all()
    silent = made.family.score(made.spec, made.model, new.assign(subject="", body="4711"), 0.0)
    assert not silent["accepted"].any()
    assert silent["strangeness"].isna().all()  # nothing to judge by
    assert list(scored["entity_key"]) == list(new["mail_id"])
    np.testing.assert_allclose(made.model.predict(new).probability.sum(axis=1), 1.0)
    for row in scored.itertuples():
        reasons = json.loads(row.reasons)
        assert reasons[0] == [row.category, round(row.score, 4)]
        assert sum(p for _, p in reasons) == pytest.approx(1.0, abs=2e-4)
    assert (scored["category"] == new["kind"]).mean() > 0.9
    assert made.family.score(made.spec, made.model, new.iloc[:0], 0.0).empty


def test_scoring_looks_at_no_other_columns_than_it_says(made, case):
    new = case.texts(20, seed=5)
    looked_at = made.family.columns(made.spec, made.model)
    assert looked_at == ["subject", "body", "mail_id", "_row"]
    alike = (made.family.score(made.spec, made.model, rows, 0.0) for rows in (new, new[looked_at]))
    pd.testing.assert_frame_equal(*alike)


def test_a_saved_model_says_the_same_and_its_files_are_of_allowed_formats(made, case, tmp_path):
    made.model.save(tmp_path)
    new = case.texts(40, seed=6)
    again = Text(case.WordVectors()).load(tmp_path)
    before, after = made.model.predict(new), again.predict(new)
    np.testing.assert_array_equal(before.probability, after.probability)
    np.testing.assert_array_equal(before.accepted, after.accepted)
    accept(tmp_path)


def test_another_encoder_is_refused(made, case, tmp_path):
    blend = case.spec(candidates=[made.spec.candidates[1].model_dump()])
    _, _, model = case.train(blend, made.frame)
    model.save(tmp_path)
    with pytest.raises(ModelError, match="sentence encoder aaaaaaaaaaaa, here is bbbbbbbbbbbb"):
        Text(case.WordVectors("b" * 64)).load(tmp_path)


def test_a_file_with_more_than_arrays_is_refused(made, case, tmp_path):
    made.model.save(tmp_path)
    file = next(tmp_path.glob("*.skops"))
    skops.io.dump({"coefficients": [1, 2]}, file)
    with pytest.raises(ModelError, match="more than plain arrays"):
        Text(case.WordVectors()).load(tmp_path)


def test_no_artefact_holds_what_one_text_alone_says(made, case, tmp_path):
    frame = made.frame.copy()
    frame.loc[7, "body"] = "payment of Zebulon Quarterstaff zq@example.org DE8937040044 thanks"
    spec = case.spec(candidates=[made.spec.candidates[0].model_dump()])
    family, _, model = case.train(spec, frame)
    model.save(tmp_path)
    reference = family.reference(spec, model, frame, {})
    (tmp_path / "reference.json").write_text(json.dumps(reference), encoding="utf-8")
    written = b" ".join(path.read_bytes() for path in tmp_path.iterdir()).lower()
    for planted in (b"zebulon", b"quarterstaff", b"zq@", b"de8937040044", b"4711"):
        assert planted not in written
    example, _ = family.example(spec, model, frame)
    assert not set(example.iloc[0]) & set(frame["body"]) | set(example.iloc[0]) & set(frame["subject"])


STRANGER = {"garden": ["tulip", "spade", "soil", "seed", "rain", "hedge"]}


@pytest.mark.parametrize("scope", ["confidence", "energy"])
def test_few_known_texts_are_rejected_and_most_strangers(made, case, scope):
    one = [made.spec.candidates[0].model_dump()]
    model = case.train(case.spec(candidates=one, reject={"max_false_rejects": 0.1, "scope": scope}), made.frame)[2]
    assert (~model.predict(case.texts(300, seed=8)).accepted).mean() < 0.17
    assert (~model.predict(case.texts(100, seed=9, kinds=STRANGER)).accepted).mean() > 0.5
    empty = pd.DataFrame({"subject": ["", "4711"], "body": [None, "12 / 13"]})
    assert not model.predict(empty).accepted.any()


def test_the_line_is_drawn_so_that_the_asked_share_lies_above():
    found = np.random.default_rng(0).normal(size=200)
    assert (found > Scope.draw("energy", found, 0.04).threshold).sum() == 8


def test_without_a_reject_block_every_text_is_accepted(made, case):
    free = case.train(case.spec(reject=None, candidates=[made.spec.candidates[0].model_dump()]), made.frame)[2]
    assert free.predict(case.texts(50, seed=9, kinds=STRANGER)).accepted.all()


def test_the_combined_measure_learns_from_left_out_classes_and_is_saved(made, case, tmp_path):
    combined = {"max_false_rejects": 0.1, "scope": "combined"}
    with pytest.raises(ModelError, match="3 classes are too few"):
        case.train(case.spec(reject=combined), made.frame)
    kinds = {f"kind{n}": [f"w{chr(97 + n)}{chr(97 + m)}" for m in range(8)] for n in range(13)}
    spec = case.spec(candidates=[made.spec.candidates[1].model_dump()], reject=combined)
    model = case.train(spec, case.texts(420, kinds=kinds))[2]
    new = case.texts(150, seed=8, kinds=kinds)
    before = model.predict(new)
    assert (~before.accepted).mean() < 0.25
    assert (~model.predict(case.texts(100, seed=9, kinds=STRANGER)).accepted).mean() > 0.5
    model.save(tmp_path)
    assert (tmp_path / "scope.skops").exists()
    accept(tmp_path)
    after = Text(case.WordVectors()).load(tmp_path).predict(new)
    np.testing.assert_array_equal(before.strangeness, after.strangeness)


def test_the_same_seed_gives_the_same_model(made, case):
    again = case.train(case.spec(), made.frame.sample(frac=1.0, random_state=1))[2]
    new = case.texts(30, seed=4)
    np.testing.assert_allclose(again.predict(new).probability, made.model.predict(new).probability, atol=1e-6)


def test_two_classes_kernels_and_both_kinds_of_features(case):
    frame = case.texts(160, kinds={name: case.KINDS[name] for name in ("invoice", "complaint")})
    ridge = "sklearn.linear_model.RidgeClassifier"
    candidates = [
        {"name": "kernel", "estimator": ridge, "features": "embeddings", "params": {"alpha": 0.3},
         "kernel": {"components": 256}},
        {"name": "both", "estimator": "sklearn.linear_model.LogisticRegression", "features": "both"},
        {"name": "mix", "ensemble": ["kernel", "both"]},
    ]  # fmt: skip
    family, board, model = case.train(case.spec(candidates=candidates), frame)
    assert [row["value"] > 0.85 for row in board.rows] == [True] * 3
    metrics = family.evaluate(case.spec(), model, frame)
    assert {"accuracy", "macro_f1", "rejected", "accuracy_accepted", "false_rejects"} < set(metrics)
    assert metrics["accuracy"] > 0.85


def test_equal_texts_share_a_fold_and_classes_are_spread_evenly(case):
    texts = [f"text {n // 2}" for n in range(120)]
    y = np.repeat([0, 1, 2], 40)
    fold = folds(texts, y, 4, seed=1)
    assert (fold[::2] == fold[1::2]).all()
    assert all((np.bincount(fold[y == one], minlength=4) == 10).all() for one in range(3))
    np.testing.assert_array_equal(fold, folds(texts, y, 4, seed=1))


def test_the_most_recent_texts_are_held_out_and_rare_classes_are_said(made, case):
    frame = made.frame.copy()
    frame.loc[[1, 2, 3], "kind"] = "postcard"
    cases = split(made.spec, frame)
    assert cases.holdout["at"].min() > cases.train["at"].max()
    assert cases.left_out == {"postcard": 3}
    limits = made.family.describe(made.spec, frame).limits
    assert any("postcard (3)" in line for line in limits)
    recent = frame.assign(_part=["holdout" if n < 50 else "train" if n < 99 else "" for n in range(len(frame))])
    cases = split(made.spec, recent)
    assert len(cases.holdout) == 50


def test_a_text_that_is_held_out_is_not_trained_on(made):
    frame = made.frame.copy()
    late = frame.index[frame["at"] >= split(made.spec, frame).holdout["at"].min()]
    frame.loc[[5, 6, 7], ["subject", "body"]] = frame.loc[late[:3], ["subject", "body"]].to_numpy()
    cases = split(made.spec, frame)
    assert not set(cases.texts) & set(texts_of(cases.holdout, made.spec.data.text))
    assert (cases.repeated, len(cases.holdout)) == (3, len(late))
    assert any("the same text is held out: 3 texts" in line for line in made.family.describe(made.spec, frame).limits)
    assert split(made.spec, made.frame).repeated == 0


def test_too_few_texts_or_classes_say_what_to_do(made, case):
    with pytest.raises(ModelError, match=r"training\.min_per_class"):
        split(made.spec, made.frame.assign(kind="invoice"))
    with pytest.raises(ModelError, match="lacks the text columns body"):
        made.model.predict(made.frame.drop(columns="body"))


def test_a_candidate_that_cannot_be_fitted_leaves_the_others(made, case):
    wrong = {"name": "wrong", "estimator": "sklearn.svm.LinearSVC", "params": {"C": -1.0}}
    spec = case.spec(candidates=[wrong, made.spec.candidates[0].model_dump()])
    family = Text(case.WordVectors())
    with pytest.raises(ModelError, match=r"'wrong': params: C of LinearSVC cannot be -1\.0"):
        family.validate(spec, spec.candidates[0], made.frame)
    found = {"wrong": pd.DataFrame(), "terms": family.validate(spec, spec.candidates[1], made.frame)[0]}
    board = family.rank(spec, made.frame, found)
    assert board.best == "terms"
    assert "could not be fitted" in board.rows[1]["error"]
    with pytest.raises(ModelError, match="no candidate could be judged"):
        family.rank(spec, made.frame, {"wrong": pd.DataFrame(), "terms": pd.DataFrame()})


def test_what_is_published_may_have_learnt_the_held_out_texts_too(case):
    """Words of the last texts only; the model that is judged, its blend and its reject line are as without."""
    frame = case.texts(240)
    late = frame.index >= 180
    frame.loc[late, "body"] += frame.loc[late, "kind"].map(lambda kind: f" {kind}word {kind}word")
    plain, more = case.spec(), case.spec(training={**case.spec().training.model_dump(), "refit": True})
    family, board, judged = case.train(more, frame)
    found = {c.name: family.validate(more, c, frame)[0] for c in more.candidates if c.estimator}
    published = family.published(more, frame, board, found, judged)
    assert family.published(plain, frame, board, found, judged) is None
    assert (published.classes, published.scope) == (judged.classes, judged.scope)
    asked = frame.head(1).assign(subject="", body="contractword contractword contractword")
    at = judged.classes.index("contract")
    before, after = (model.predict(asked).probability[0, at] for model in (judged, published))
    assert after > before + 0.2
    assert "prediction" not in family.reference(more, published, frame, {})["features"]
    assert family.seen(more, frame, frame).all()
    assert not family.seen(plain, frame, frame).all()
