"""Text classification on BANKING77: accuracy, out-of-scope recall, throughput; with their peers in the same run.

    BATON_BENCH_DATA=FOLDER python tests/bench/bench_text.py [seed]

`FOLDER/banking77` holds the published train.csv (10,003 texts) and test.csv (3,080 texts, 40 for each of 77 intents).

**Accuracy.** The family's own code ranks the candidates below on stratified folds of the training file and fits the best one
on all of it; the test file is scored once, after that choice. Parameters were chosen before on folds of the training file
only (four folds, accuracy): words and letters with a linear SVM 0.898 (C 0.5); sentence vectors with logistic regression
0.922 (C 20), with a linear SVM 0.921, discriminant analysis 0.882, a perceptron 0.912; vectors and terms side by side in one
SVM 0.927; a Gaussian kernel on the vectors with ridge regression 0.932 exactly, by random features 0.921 (2,048), 0.927
(4,096), 0.929 (8,192); blends of a kernel and a terms model 0.934. Maximum pooling and whitening gained nothing.

**Out of scope.** Five times 17 of the 77 intents, drawn with the seed, are taken out of the training file. The threshold is
chosen on out-of-fold scores of the other 60 so that 4 % of them are rejected. Reported are the share of the test file's
texts of the 17 intents that are rejected, the share of the others that are, and the recall at exactly 4 % of those (the line
drawn on the test file's known texts, so that a lucky threshold gains nothing). Peer: the same model by the best class's
probability alone. Many of the 77 intents have a sister from which only a word or two tells them (where is `refund not
showing up` out of scope, its texts are taken for `request refund`), so splits differ widely.

What is measured was chosen on the training file only: ten splits with other seeds, 17 intents left out, a stratified quarter
of the other intents' texts judged with the left-out ones; mean recall at exactly 4 %, by a logistic model of all traits:

    probabilities, scores, rarity of words, distances to centres (what was there before)    0.512
    the same and how usual the text's words are in the class it is given                    0.559
    the same and the distance to the nearest class's subspace                               0.558
    both                                                                                    0.585
    both, each text set aside once instead of one sixth of them for all groups              0.586
    both, looking hardest near the line                                                     0.585
    all of these: what is used (0.55 to 0.63)                                               0.596

On the test file, once, after these choices: 0.611 (0.55 to 0.68; before: 0.514); at the threshold drawn in training 0.584 with
3.6 % of the known texts rejected. Since equal vectors of a class count once (no axis may point at one text): 0.610.

How usual words are, in a first version that knew words of a single text too: 0.564; relative to the class's other texts
0.552, weighted by rarity 0.536, stems 0.554, words and pairs 0.552, letters 0.547; smoothing by 1 and 10 texts 0.565 and
0.557. The subspace, with all of the rest, on four splits: 8 directions 0.586, 12 0.594, 24 0.599, 48 0.592. Gained little
or nothing, or lost, since known texts look otherwise where there are fewer classes and texts to learn from: predictive
variance of a kernel model, a sharper kernel, several centroids per class, distances and scores relative to what is usual in
the class, profiles of all scores, a covariance per class, products of traits, boosted trees, traits scaled by their
out-of-fold moments.

**Promise.** Five times all 13,083 texts are dealt anew: 40 % train, 30 % are the model's held-out ones, on which it corrects
its line, and 30 % come later. Reported is the largest difference between `max_false_rejects` and the share of these that is
rejected, as a share of 1; peer: the line drawn out of fold alone.

**Throughput.** Texts per second, wall time, of the first 3,000 test texts on the threads that `baton` takes: TF-IDF with
letters; and the sentence encoder without its cache.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.families.text.family import Text
from baton.families.text.features.encoder import MODEL, TOKENIZER, MiniLM
from baton.families.text.model import FittedText
from baton.families.text.scope import Scope
from baton.packs.packaged import packaged
from baton.settings import settings
from baton.specs.text import TextSpec

SPLITS, LEFT_OUT, REJECTED = 5, 17, 0.04
RIDGE = "sklearn.linear_model.RidgeClassifier"
TERMS = {"name": "terms", "estimator": "sklearn.svm.LinearSVC", "params": {"C": 0.5}, "letters": [2, 5]}
CANDIDATES: list[dict[str, Any]] = [
    TERMS,
    {"name": "kernel", "estimator": RIDGE, "features": "embeddings", "params": {"alpha": 0.2, "fit_intercept": False},
     "kernel": {"components": 4096, "gamma": 0.5}, "seed": 1},
    {"name": "narrow_kernel", "estimator": RIDGE, "features": "embeddings",
     "params": {"alpha": 0.2, "fit_intercept": False}, "kernel": {"components": 4096, "gamma": 1.0}, "seed": 2},
    {"name": "kernels", "ensemble": ["kernel", "narrow_kernel"]},
    {"name": "blend", "ensemble": ["terms", "kernel", "narrow_kernel"]},
]  # fmt: skip
VECTORS = {"name": "vectors", "estimator": "sklearn.linear_model.LogisticRegression", "features": "embeddings",
           "params": {"C": 20.0, "max_iter": 500}}  # fmt: skip
BOTH = {"name": "both", "ensemble": ["terms", "vectors"]}


def queries(folder: Path, name: str, part: str) -> pd.DataFrame:
    """A file of BANKING77 as the family takes it; `_part` says what is held out."""
    frame = pd.read_csv(folder / f"{name}.csv")
    at = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(len(frame)), unit="min")
    keys = [f"{name}-{row}" for row in range(len(frame))]
    return frame.assign(query_id=keys, at=at, _part=part, _weight=1.0, _partition="", _row=np.arange(len(frame)))


def spec(candidates: Sequence[dict[str, Any]], seed: int, scope: str = "confidence") -> TextSpec:
    """The spec of the benchmark's model."""
    return TextSpec.model_validate({
        "model": "banking_intent", "family": "text", "owner": "bench", "description": "intents of bank customers",
        "data": {"entity": "query_id", "time": "at", "text": ["text"], "target": "category"},
        "training": {"contract": "queries", "history": {"source": "queries"}, "seed": seed},
        "candidates": list(candidates), "reject": {"max_false_rejects": REJECTED, "scope": scope},
    })  # fmt: skip


def train(one: TextSpec, frame: pd.DataFrame) -> tuple[FittedText, list[dict[str, Any]], float]:
    """Fitted winner, leaderboard and wall seconds, by the steps of the training DAG."""
    started, family = time.perf_counter(), Text()
    found = {c.name: family.validate(one, c, frame)[0] for c in one.candidates if c.estimator}
    board = family.rank(one, frame, found)
    return family.fit(one, frame, board, found), board.rows, time.perf_counter() - started


def right(model: FittedText, test: pd.DataFrame) -> float:
    """Accuracy on the test file."""
    best = np.array(model.classes, dtype=object)[model.predict(test).probability.argmax(axis=1)]
    return float((best == test["category"].to_numpy()).mean())


def out_of_scope(learnt: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, float]:
    """One split: recall and false rejects of the combined measure at its own threshold, and recalls at 4 %."""
    intents = sorted(learnt["category"].unique())
    left = np.random.default_rng(seed).choice(intents, LEFT_OUT, replace=False)
    # held out are texts of unknown intents only: the line stays the out-of-fold one, the test file has no part in it
    rows = pd.concat([learnt[~learnt["category"].isin(left)], test[test["category"].isin(left)]], ignore_index=True)
    blend = [c for c in CANDIDATES if c["name"] != "kernels"]
    seeded = [{**c, "seed": c.get("seed", seed)} if "estimator" in c else c for c in blend]
    model = train(spec(seeded, seed, "combined"), rows)[0]
    said, unknown = model.predict(test), test["category"].isin(left).to_numpy()
    assert said.strangeness is not None
    confidence = 1 - said.probability.max(axis=1)
    return {
        "recall": float((~said.accepted)[unknown].mean()), "false_rejects": float((~said.accepted)[~unknown].mean()),
        "recall_at_4": _recall(said.strangeness, unknown), "by_confidence_at_4": _recall(confidence, unknown),
    }  # fmt: skip


def _recall(strange: np.ndarray, unknown: np.ndarray) -> float:
    known = np.sort(strange[~unknown])[::-1]
    return float((strange[unknown] > known[int(REJECTED * len(known))]).mean())


def promise(every: pd.DataFrame, seed: int) -> dict[str, float]:
    """One split: shares of later texts that are rejected, by the model's line and by the one drawn out of fold."""
    order = np.random.default_rng(seed).permutation(len(every))
    learnt, held, later = np.split(order, [int(0.4 * len(every)), int(0.7 * len(every))])
    rows = [every.iloc[learnt].assign(_part="train"), every.iloc[held].assign(_part="holdout")]
    model = train(spec([TERMS, VECTORS, BOTH], seed, "combined"), pd.concat(rows, ignore_index=True))[0]
    strange, scope = model.predict(every.iloc[later]).strangeness, model.scope
    assert strange is not None
    assert scope is not None
    alone = Scope.draw(scope.kind, scope.found, REJECTED).threshold
    return {"false_rejects": float((strange > scope.threshold).mean()), "out_of_fold": float((strange > alone).mean())}


def throughput(texts: list[str], learnt: pd.DataFrame, seed: int) -> tuple[float, float]:
    """Texts per second of the terms model, and of the encoder alone."""
    model = train(spec([TERMS], seed), learnt)[0]
    rows = pd.DataFrame({"text": texts})
    started = time.perf_counter()
    model.predict(rows)
    terms = len(texts) / (time.perf_counter() - started)
    encoder = MiniLM(packaged(MODEL), packaged(TOKENIZER))
    encoder.encode(texts[:10])
    started = time.perf_counter()
    encoder.encode(texts[10:])
    return terms, (len(texts) - 10) / (time.perf_counter() - started)


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """All figures; leaderboard and splits are left in `out`."""
    folder = Path(os.environ.get("BATON_BENCH_DATA", "")) / "banking77"
    if not (folder / "train.csv").is_file():
        sys.stderr.write(
            "bench_text: skipped, BATON_BENCH_DATA names no folder with banking77/train.csv and test.csv\n"
        )
        return []
    if not (settings().data_dir / "packaged" / MODEL).is_file():
        sys.stderr.write("bench_text: skipped, no sentence encoder; run `baton data` first\n")
        return []
    load_average = os.getloadavg()[0]
    learnt, test = queries(folder, "train", "train"), queries(folder, "test", "holdout")
    model, board, seconds = train(spec(CANDIDATES, seed), pd.concat([learnt, test], ignore_index=True))
    accuracy = right(model, test)
    peers = {
        name: right(train(spec([one], seed), pd.concat([learnt, test], ignore_index=True))[0], test)
        for name, one in (("TF-IDF + linear SVM", TERMS), ("MiniLM + logistic regression", VECTORS))
    }
    splits = [out_of_scope(learnt, test, seed + number) for number in range(SPLITS)]
    every = pd.concat([learnt, test], ignore_index=True)
    promised = [promise(every, seed + number) for number in range(SPLITS)]
    off = {name: max(abs(one[name] - REJECTED) for one in promised) for name in promised[0]}
    terms, vectors = throughput(test["text"].tolist()[:3000], pd.concat([learnt, test], ignore_index=True), seed)
    out.mkdir(parents=True, exist_ok=True)
    details = {"leaderboard": board, "winner": model.name, "seconds": seconds, "peers": peers, "splits": splits}
    details["promised"] = promised
    (out / "text_details.json").write_text(json.dumps(details, indent=1), encoding="utf-8")
    mean = {key: float(np.mean([one[key] for one in splits])) for key in splits[0]}
    shared = {
        "seed": seed, "load": load_average, "larger_is_better": True,
        "versions": {name: version(name) for name in ("onnxruntime", "tokenizers", "scikit-learn", "numpy")},
    }  # fmt: skip
    best, peer = max((value, name) for name, value in peers.items())
    return [
        {"name": "banking77_accuracy", "value": accuracy, "unit": "", "target": 0.935, "peer": peer, "peer_value": best,
         "ratio": accuracy / best, "winner": model.name, "peers": peers, **shared},
        {"name": "out_of_scope_recall_at_4_percent", "value": mean["recall_at_4"], "unit": "", "target": 0.60,
         "peer": "best class's probability", "peer_value": mean["by_confidence_at_4"],
         "ratio": mean["recall_at_4"] / mean["by_confidence_at_4"], "splits": splits, **shared},
        {"name": "out_of_scope_recall_at_own_threshold", "value": mean["recall"], "unit": "", "target": None,
         "peer": "false rejects", "peer_value": mean["false_rejects"], "ratio": None, **shared},
        {"name": "false_rejects_off_the_promise", "value": off["false_rejects"], "unit": "", "target": 0.01,
         "peer": "line drawn out of fold", "peer_value": off["out_of_fold"],
         "ratio": off["false_rejects"] / off["out_of_fold"], "splits": promised, **shared, "larger_is_better": False},
        {"name": "tfidf_throughput", "value": terms, "unit": "texts/s", "target": 5000.0, "peer": None,
         "peer_value": None, "ratio": None, **shared},
        {"name": "embedding_throughput", "value": vectors, "unit": "texts/s", "target": 300.0, "peer": None,
         "peer_value": None, "ratio": None, **shared},
        {"name": "training_10003_texts", "value": seconds, "unit": "s", "target": None, "peer": None,
         "peer_value": None, "ratio": None, **shared, "larger_is_better": False},
    ]  # fmt: skip


if __name__ == "__main__":
    figures = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, settings().home / "bench")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
