"""Retrieval of the right answer of 77 for the customer queries of BANKING77: recall at 1 and at 3.

    make bench NAME=retrieval
    python tests/bench/bench_retrieval.py choose      (the weights, from the training file alone)

Reads BATON_BENCH_DATA/banking77. An entry is the pack's own answer to the intent, with the intent's training queries as
examples; the 3,080 test queries are searched with the pack's `retrieval.search`. The intent model is a logistic regression
on the packaged encoder's vectors of the training queries, of which retrieval sees the three most probable classes, as in
the flow. The weights stand in `retrieval.WEIGHTS`; `choose` finds them by cross-validation over five folds of the training
file: a softmax over entries and "none of them", for which the right entry is taken away from 30 % of the queries; the
weight of "none" is then corrected to a share of 10 %. The test file was scored once, after the choice. Peers in the same run: BM25 alone, TF-IDF alone (an entry's mean vector),
the mean MiniLM vector of an entry alone.

"shipped" is what the flow has: all entries of the knowledge base, also those that answer no intent, and at most
`retrieval.EXAMPLES` texts an intent instead of all (about 130). The file knows no order in time, so which texts are the latest
is drawn, five times; the figure is the mean. "own words" are the entries without any example.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from baton.errors import SourceError
from baton.families.text.features.encoder import packaged_encoder
from baton_packs.customer_experience.service.knowledge import entries
from baton_packs.customer_experience.service.retrieval import EXAMPLES, SHOWN, examples, search
from baton_packs.customer_experience.service.search_index import Bm25, Index

ANSWERS = [entry for entry in entries() if entry.intent]
COLUMN = {entry.intent: at for at, entry in enumerate(ANSWERS)}
HIDDEN, EXPECTED = 0.3, 0.1  # share of queries that no entry answers: in the choice, in use
DRAWS = 5
SAID = ("", " without intent model")


def queries(part: str) -> pd.DataFrame | None:
    """Columns text, category, entry (number of the right answer); None without the data."""
    folder = os.environ.get("BATON_BENCH_DATA")
    if not folder or not (Path(folder) / "banking77" / f"{part}.csv").is_file():
        return None
    frame = pd.read_csv(Path(folder) / "banking77" / f"{part}.csv")
    return frame.assign(entry=frame["category"].map(COLUMN))


def by_intent(frame: pd.DataFrame, most: int | None = None) -> dict[str, list[str]]:
    """Texts of each intent, all or the last `most`."""
    groups = frame.groupby("category")["text"]
    return {
        str(name): texts.tolist()[len(texts) - most if most is not None and most < len(texts) else 0 :]
        for name, texts in groups
    }


def intent_model(train: pd.DataFrame, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
    """The three most probable classes of each text."""
    encoder = packaged_encoder()
    model = LogisticRegression(C=20.0, max_iter=300).fit(encoder.encode(train["text"].tolist()), train["category"])
    probability = model.predict_proba(encoder.encode(texts))
    order = np.argsort(-probability, axis=1)[:, :SHOWN]
    return [
        [(str(model.classes_[at]), float(row[at])) for at in best] for row, best in zip(probability, order, strict=True)
    ]


def recall(score: np.ndarray, right: np.ndarray) -> dict[int, float]:
    """Share of the rows whose right column is among the best 1 and 3; ties count against."""
    better = (score >= np.take_along_axis(score, right[:, None], axis=1)).sum(axis=1)
    return {k: float((better <= k).mean()) for k in (1, 3)}


def tfidf_alone(train: pd.DataFrame, texts: Sequence[str]) -> np.ndarray:
    """Cosine to the mean TF-IDF vector of each entry's examples."""
    counter = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    rows = counter.fit_transform(train["text"])
    means = np.stack(
        [np.asarray(rows[(train["entry"] == at).to_numpy()].mean(axis=0)).ravel() for at in range(len(ANSWERS))]
    )
    return np.asarray(counter.transform(texts) @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T)


def centroid_alone(train: pd.DataFrame, texts: Sequence[str]) -> np.ndarray:
    """Cosine to the mean sentence vector of each entry's examples."""
    encoder = packaged_encoder()
    rows, right = encoder.encode(train["text"].tolist()), train["entry"].to_numpy()
    means = np.stack([rows[right == at].mean(axis=0) for at in range(len(ANSWERS))])
    return np.asarray(encoder.encode(texts) @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T)


def shipped(train: pd.DataFrame, test: pd.DataFrame, said: Sequence[Any], seed: int) -> dict[str, dict[int, float]]:
    """Recall as the flow has it, mean over draws of the examples; and of the entries' own words. `said`: see `intent_model`."""
    every, encoder, texts = entries(), packaged_encoder(), test["text"].tolist()
    column = {entry.intent: at for at, entry in enumerate(every) if entry.intent}
    right = test["category"].map(column).to_numpy()
    known = train.rename(columns={"category": "intent"})
    draws = [examples(known.sample(frac=1.0, random_state=seed + draw)) for draw in range(DRAWS)]
    found: dict[str, dict[int, float]] = {}
    for name, given in (("shipped", draws), ("own words", [None])):
        indexes = [Index(every, encoder, one) for one in given]
        for suffix, reasons in zip(SAID, (said, [[] for _ in texts]), strict=True):
            drawn = [recall(search(index, texts, reasons), right) for index in indexes]
            found[name + suffix] = {k: float(np.mean([one[k] for one in drawn])) for k in (1, 3)}
    latest = known.sample(frac=1.0, random_state=seed).groupby("intent").tail(EXAMPLES)
    found["centroid MiniLM of as many"] = recall(centroid_alone(latest, texts), test["entry"].to_numpy())
    return found


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Recall of the hybrid and as shipped, with and without the intent model, beside the peers; seconds per 1,000 queries."""
    train, test = queries("train"), queries("test")
    if train is None or test is None:
        sys.stderr.write(
            "bench_retrieval: no banking77/train.csv and test.csv under BATON_BENCH_DATA; nothing measured\n"
        )
        return []
    try:
        packaged_encoder()
    except SourceError as error:
        sys.stderr.write(f"bench_retrieval: {error}\n")
        return []
    texts, right = test["text"].tolist(), test["entry"].to_numpy()
    index = Index(ANSWERS, packaged_encoder(), by_intent(train))
    none: list[list[tuple[str, float]]] = [[] for _ in texts]
    started = time.perf_counter()
    alone = search(index, texts, none)
    seconds = time.perf_counter() - started
    said = intent_model(train, texts)
    full = search(index, texts, said)
    bm25 = Bm25([" ".join(by_intent(train)[str(entry.intent)]) for entry in ANSWERS], (1, 1)).share(texts)
    measured = {
        "hybrid": recall(full, right), "hybrid without intent model": recall(alone, right),
        "BM25 only": recall(bm25, right), "TF-IDF only": recall(tfidf_alone(train, texts), right),
        "centroid MiniLM": recall(centroid_alone(train, texts), right), **shipped(train, test, said, seed),
    }  # fmt: skip
    shared = {"seed": seed, "load": os.getloadavg()[0], "queries": len(texts), "all": measured}
    rows = []
    for k, target in ((1, 0.88), (3, 0.96)):
        for name in ("hybrid", "hybrid without intent model"):
            value = measured[name][k]
            for peer in ("centroid MiniLM", "BM25 only", "TF-IDF only") if name == "hybrid" else ("centroid MiniLM",):
                rows.append({
                    "name": f"retrieval_{name} recall@{k}" + (f" against {peer}" if peer != "centroid MiniLM" else ""),
                    "value": value, "unit": "", "target": target if peer == "centroid MiniLM" else None,
                    "larger_is_better": True, "peer": peer, "peer_value": measured[peer][k],
                    "ratio": value / measured[peer][k], **shared,
                })  # fmt: skip
        for suffix in SAID:
            value, peer = measured[f"shipped{suffix}"][k], "centroid MiniLM of as many"
            rows.append({
                "name": f"retrieval_shipped{suffix} recall@{k}", "value": value, "unit": "", "target": target,
                "larger_is_better": True, "peer": peer, "peer_value": measured[peer][k], "ratio": value / measured[peer][k],
                "own_words": measured[f"own words{suffix}"][k], "examples": EXAMPLES, "draws": DRAWS, **shared,
            })  # fmt: skip
    best = full.max(axis=1)
    rows.append({
        "name": "retrieval_best_score minus share right", "value": float(best.mean() - (full.argmax(axis=1) == right).mean()),
        "unit": "", "target": None, "larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, **shared,
    })  # fmt: skip
    rows.append({
        "name": "retrieval_search of 1,000 queries", "value": seconds / len(texts) * 1000, "unit": "s", "target": None,
        "larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, **shared,
    })  # fmt: skip
    return rows


def choose(seed: int) -> None:
    """Print a row of `retrieval.WEIGHTS` for several numbers of examples per entry."""
    train = queries("train")
    if train is None:
        sys.exit("bench_retrieval: no banking77/train.csv under BATON_BENCH_DATA")
    folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(train, train["entry"]))
    said = [intent_model(train.iloc[a], train["text"].iloc[b].tolist()) for a, b in folds]
    right = np.concatenate([train["entry"].to_numpy()[b] for _, b in folds])
    hidden = np.random.default_rng(seed).random(len(right)) < HIDDEN
    for most in (0, 10, 20, None):
        parts = []
        for (a, b), reasons in zip(folds, said, strict=True):
            texts, known = train["text"].iloc[b].tolist(), train.iloc[a].sample(frac=1.0, random_state=seed)
            index = Index(ANSWERS, packaged_encoder(), by_intent(known, most) if most != 0 else None)
            parts.append(np.stack([index.terms(texts), index.meaning(texts), index.intents(reasons)], axis=2))
        signs = np.concatenate(parts)
        weights = _fit(signs, right, hidden)
        weights[3] += np.log(EXPECTED / (1 - EXPECTED)) - np.log(HIDDEN / (1 - HIDDEN))
        found = recall(signs @ weights[:3], right)
        sys.stdout.write(f"examples {most}: terms, meaning, intent, none {weights.round(1)}; recall {found}\n")


def _fit(signs: np.ndarray, right: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Weights of the signs and of "none" that make the truth most likely; hidden: the right entry is not there."""
    rows, signs = np.arange(len(right)), signs.copy()
    signs[hidden, right[hidden], :] = 0.0
    signs[hidden, :, 2] /= np.maximum(signs[hidden, :, 2].sum(axis=1, keepdims=True), 1e-9)
    gone = np.zeros(signs.shape[:2], dtype=bool)
    gone[rows[hidden], right[hidden]] = True
    truth = np.where(hidden, signs.shape[1], right)

    def surprise(weights: np.ndarray) -> float:
        found = np.where(gone, -1e9, signs @ weights[:3])
        every = np.column_stack([found, np.full(len(rows), weights[3])])
        return float(-(every[rows, truth] - logsumexp(every, axis=1)).mean())

    return np.asarray(minimize(surprise, np.full(4, 5.0), method="BFGS", options={"maxiter": 60}).x)


if __name__ == "__main__":
    choose(int(sys.argv[2]) if len(sys.argv) > 2 else 20)
