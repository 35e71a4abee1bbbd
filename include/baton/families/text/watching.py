"""Drift of texts: what they are like, what they are about, and what the model says of them.

Watched are, for each text: its number of words, the share of its words that training never saw, its place along the
directions in which the training's vectors spread most, and how far it lies off all of them (embedding drift; where the spec
says `drift.embeddings`, whichever candidate won), the class and the probability that the model gives it, and whether it is
accepted. All are compared by `baton.drift.compare`.

The vectors are the costly part: some 45 ms of a busy processor for a page of text (the encoder reads its first 256 tokens),
5 ms for a short message. So the reference rests on a seeded sample of the texts where they are long together: some 10 s.

What depends on having learnt a text by heart (class, probability, accepted, unknown words) is counted on held-out texts
only, and not where the model has learnt those too; the rest on all. The reference holds counts, directions (means over all texts) and words that several texts share.
"""

from collections import Counter
from datetime import timedelta
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd

from baton.data.partitions import DAY, floor_times
from baton.drift import compare as drift
from baton.drift import table
from baton.drift.bins import sub_windows
from baton.drift.performance import COVERAGE, Performance, calibration
from baton.families.base import Json, Watchable
from baton.families.text.cases import split, texts_of
from baton.families.text.features.encoder import Encoder, packaged_encoder, require
from baton.families.text.features.names import Names
from baton.families.text.features.terms import words
from baton.families.text.model import FittedText
from baton.specs.text import AccuracySpec, TextSpec

DIRECTIONS = 8
BINS = 10  # windows of texts are small: with more bins chance alone would move them
MIN_TEXTS = 2  # distinct texts that must share a word before the reference may hold it
MAX_WORDS = 30_000
RESAMPLES, CONFIDENCE = 400, 0.9
EMBEDDED, PAGE = 200_000, 1_100  # characters that the reference encodes, and of one text at most: 256 tokens
SHAPING = 3  # every third encoded text makes the directions
_VECTOR = ("direction_", "off_directions")
_HONEST = ["category", "accepted", "unknown_words"]


def reference(
    spec: TextSpec, fitted: FittedText, frame: pd.DataFrame, encoder: Encoder | None = None, step: timedelta = DAY
) -> dict[str, Any]:
    """What later windows are compared with; see `baton.families.base.Family.reference`.

    Args:
        encoder: the one to use where the spec watches embeddings; None opens the packaged one.
        step: length of a partition; texts of less than a day are taken together by days, they would be too few.

    Raises:
        SourceError: it was not fetched yet.
    """
    assert spec.drift is not None
    cases = split(spec, frame)
    data = pd.concat([cases.train, cases.holdout], ignore_index=True)
    held_out = (np.arange(len(data)) >= len(cases.train)) & (not spec.training.refit)
    texts = texts_of(data, spec.data.text)
    known = _known_words(cases.texts, cases.names)
    encoder = (encoder or fitted.encoder or packaged_encoder()) if spec.drift.embeddings else None
    seen = _sample(texts, spec.training.seed)
    # directions fit the texts they are made from: where others lie along them is counted on the rest
    shaping, placed = seen[::SHAPING], [at for number, at in enumerate(seen) if number % SHAPING] or seen
    directions = _directions([texts[at] for at in shaping], encoder) if encoder is not None else None
    signals = _signals(texts, set(known), directions, encoder, placed)
    said = fitted.predict(data[held_out])
    signals["category"] = pd.Series(None, index=signals.index, dtype=object)
    signals["accepted"] = pd.Series(None, index=signals.index, dtype=object)
    signals.loc[held_out, "category"] = np.array(fitted.classes, dtype=object)[said.probability.argmax(axis=1)]
    signals.loc[held_out, "accepted"] = np.where(said.accepted, "yes", "no").astype(object)
    confidence = np.full(len(data), np.nan) if held_out.any() else None
    if confidence is not None:
        confidence[held_out] = said.probability.max(axis=1, initial=0.0)
    times = data[spec.data.time]
    dated = str(times.dtype).startswith("datetime")
    windows = floor_times(pd.to_datetime(times, utc=True), max(step, DAY)) if dated else None
    found = _counts(windows, signals, confidence, held_out, spec.drift.min_rows)
    return {**found, "words": known, "directions": directions, "encoder": encoder.sha256 if encoder else None}


def watch(
    spec: TextSpec, reference: Json, window: Watchable, encoder: Encoder | None = None
) -> tuple[table.DriftTable, Performance | None, int, list[list[float]]]:
    """Compare a window; see `baton.families.base.Family.watch`.

    Returns:
        the table, the performance, how many texts of the window have a known class, and the calibration of the best class.
    """
    policy = spec.drift
    assert policy is not None
    if reference["encoder"] is None:
        encoder = None
    else:
        encoder = require(encoder or packaged_encoder(), reference["encoder"], f"the drift reference of {spec.model}")
    words_known, counted, heard = set(reference["words"]), [], 0
    said_of: list[tuple[np.ndarray, ...]] = []  # right, known, score: ten bytes a text
    for data, scored, truth in window:
        signals = _signals(texts_of(data, spec.data.text), words_known, reference["directions"], encoder)
        said = scored.set_index("entity_key").reindex(data[spec.data.entity].astype(str))
        signals["category"] = said["category"].to_numpy(dtype=object)
        signals["accepted"] = [None if pd.isna(one) else "yes" if one else "no" for one in said["accepted"]]
        counted.append(drift.count(reference, signals, said["score"].to_numpy(dtype=float)))
        value, heard = scored["entity_key"].map(truth.set_index("entity_key")["value"]), heard + len(truth)
        hit = (value.astype(str) == scored["category"].astype(str)).to_numpy()
        said_of.append((hit, value.notna().to_numpy(), scored["score"].to_numpy(dtype=float)))
    table = drift.judged(reference, reduce(add, counted), policy)
    right, known, score = map(np.concatenate, zip(*said_of, strict=True))
    expected, result = reference.get("metrics", {}).get("accuracy"), None
    if policy.performance is not None and expected is not None and heard:
        result = accuracy(right, known, float(expected), policy.performance, spec.training.seed)
    return table, result, int(known.sum()), calibration(score, np.where(known, right, np.nan))


def accuracy(right: np.ndarray, known: np.ndarray, expected: float, policy: AccuracySpec, seed: int) -> Performance:
    """Accuracy of a window's texts of known class against the holdout's.

    `dropped` if even the upper end of the bootstrap interval is below `expected - max_drop`, `held` if even the lower
    end is not. A window of which too little is known is `partial`: people look at the texts that a model is unsure of.

    Args:
        right: shape (n,), whether the best class was the true one.
        known: shape (n,), whether the true class is known.
    """
    cases = int(known.sum())
    nothing = (None, None, None, expected, cases, cases)
    if cases < policy.min_cases:
        return Performance(policy.metric, *nothing, "too_few")
    if cases < COVERAGE * len(known):
        return Performance(policy.metric, *nothing, "partial")
    value = float(right[known].mean())
    draws = np.random.default_rng(seed).binomial(cases, value, size=RESAMPLES) / cases
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    bound = expected - policy.max_drop
    status = "dropped" if high < bound else "held" if low >= bound else "open"
    return Performance(policy.metric, value, float(low), float(high), expected, cases, cases, status)


def _known_words(texts: list[str], names: Names) -> list[str]:
    """Words that several distinct texts share, most frequent ones if there are too many; sorted."""
    seen: Counter[str] = Counter()
    for text in set(texts):
        seen.update(set(words(text)))
    shared = sorted((-count, word) for word, count in seen.items() if count >= MIN_TEXTS and not names.hold(word))
    return sorted(word for _, word in shared[:MAX_WORDS])


def _directions(texts: list[str], encoder: Encoder) -> dict[str, Any]:
    """Centre of the vectors and the directions in which they spread most, as plain numbers."""
    vectors = encoder.encode(texts).astype(float)
    centre = vectors.mean(axis=0)
    spread = (vectors - centre).T @ (vectors - centre)
    axes = np.linalg.eigh(spread)[1][:, ::-1][:, :DIRECTIONS]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # else a sign is a coin's toss
    return {"centre": centre.round(6).tolist(), "axes": axes.T.round(6).tolist()}


def _sample(texts: list[str], seed: int) -> list[int]:
    """Positions of the texts that are encoded, in order: all, or as many of a seeded order as `EMBEDDED` allows."""
    order = np.random.default_rng(seed).permutation(len(texts))
    read = np.cumsum([min(len(texts[at]), PAGE) for at in order])
    return sorted(order[read <= EMBEDDED].tolist())


def _signals(
    texts: list[str],
    known: set[str],
    directions: dict[str, Any] | None,
    encoder: Encoder | None,
    seen: list[int] | None = None,
) -> pd.DataFrame:
    """One row of numbers per text: words, unknown_words (share), direction_1 .., off_directions (NaN if not `seen`)."""
    found = [words(text) for text in texts]
    signals = pd.DataFrame({
        "words": np.array([len(one) for one in found], dtype=float),
        "unknown_words": [sum(word not in known for word in one) / max(len(one), 1) for one in found],
    })  # fmt: skip
    if directions is not None and encoder is not None:
        rows = list(range(len(texts))) if seen is None else seen
        axes = np.array(directions["axes"])
        moved = encoder.encode([texts[at] for at in rows]) - np.array(directions["centre"])
        places = moved @ axes.T
        for at in range(places.shape[1]):
            signals[f"direction_{at + 1}"] = pd.Series(places[:, at], index=rows)
        signals["off_directions"] = pd.Series(np.linalg.norm(moved - places @ axes, axis=1), index=rows)
    return signals


def _counts(
    starts: pd.Series | None, signals: pd.DataFrame, confidence: np.ndarray | None, held_out: np.ndarray, min_rows: int
) -> dict[str, Any]:
    """`drift.reference` of all texts; of the held-out ones for the signals that only they give honestly; of the encoded
    ones for the places of their vectors, all windows together: those of one would be too few to compare with.
    """
    parts = sub_windows(
        pd.DataFrame({"start": 0 if starts is None else starts}, index=signals.index), "start", min_rows
    )
    window = np.full(len(signals), None, dtype=object)
    for name, rows in parts.items():
        window[rows] = name
    kept = np.array([one is not None for one in window])
    vectors = [str(name) for name in signals if str(name).startswith(_VECTOR)]
    others = [str(name) for name in signals if name not in (*_HONEST, *vectors)]
    scores = None if confidence is None else confidence[kept]
    found = drift.reference(signals[kept], others, scores, windows=window[kept], bins=BINS, min_rows=1)
    honest = kept & held_out
    if honest.any():
        said = drift.reference(signals[honest], _HONEST, windows=window[honest], bins=BINS, min_rows=1)
        place = {name: at for at, name in enumerate(said["windows"])}
        for name, entry in said["features"].items():
            nothing = [0] * len(entry["counts"][0])
            counts = [entry["counts"][place[one]] if one in place else nothing for one in found["windows"]]
            found["features"][name] = {**entry, "counts": counts}
    if vectors:
        encoded = signals[vectors].dropna()
        for name, entry in drift.reference(encoded, vectors, bins=BINS)["features"].items():
            found["features"][name] = {**entry, "counts": entry["counts"] * len(found["windows"])}
    return found
