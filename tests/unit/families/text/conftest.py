"""Seeded texts of three made-up kinds, an encoder that needs no file, and a model trained once for all tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.text.family import Text
from baton.specs.text import TextSpec

KINDS = {
    "invoice": ["amount", "due", "payment", "bank", "transfer", "total", "net", "tax", "billing", "account", "order"],
    "complaint": ["broken", "late", "angry", "damaged", "refund", "unhappy", "delay", "wrong", "missing", "poor"],
    "contract": ["party", "agreement", "clause", "term", "signature", "notice", "liability", "renewal", "law", "annex"],
}
COMMON = ["please", "the", "our", "your", "we", "with", "about", "from", "this", "regarding"]


@cache
def direction(word: str, size: int) -> np.ndarray:
    """A fixed random vector of a word."""
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big")
    return np.random.default_rng(seed).normal(size=size)


class WordVectors:
    """A text's vector is the mean of fixed random vectors of its words, of length 1."""

    def __init__(self, sha256: str = "a" * 64, size: int = 24) -> None:
        self.sha256, self.size, self.asked = sha256, size, 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        found = np.zeros((len(texts), self.size), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                found[row] += direction(word, self.size)
            found[row] /= max(float(np.linalg.norm(found[row])), 1e-9)
        return found


def texts(count: int, seed: int = 3, kinds: dict[str, list[str]] = KINDS, noise: float = 0.15) -> pd.DataFrame:
    """Rows as a training sees them: mail_id, at, subject, body, kind, and the engine's columns."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = str(rng.choice(list(kinds)))
        other = kinds[str(rng.choice(list(kinds)))]
        pool = [kinds[kind] if rng.random() > noise else other for _ in range(6)]
        chosen = [str(rng.choice(one)) for one in pool] + [str(rng.choice(COMMON)) for _ in range(4)]
        subject, body = " ".join(chosen[:2]), " ".join(rng.permutation(chosen[2:]))
        rows.append({
            "mail_id": f"m{seed}-{number}", "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(hours=number),
            "subject": subject, "body": f"{body} number 4711{number} mail{number}@example.org", "kind": kind,
            "_part": "", "_weight": 1.0, "_partition": "", "_row": number,
        })  # fmt: skip
    return pd.DataFrame(rows)


def spec(**changes: Any) -> TextSpec:
    """A small spec: terms, vectors, both, and their blend."""
    values: dict[str, Any] = {
        "model": "kind_of_mail", "family": "text", "owner": "team", "description": "test",
        "data": {"entity": "mail_id", "time": "at", "text": ["subject", "body"], "target": "kind"},
        "training": {"contract": "mails", "history": {"source": "mails"}, "min_rows": 20, "min_per_class": 5},
        "candidates": [
            {"name": "terms", "estimator": "sklearn.svm.LinearSVC", "params": {"C": 0.5}, "letters": [2, 3]},
            {"name": "vectors", "estimator": "sklearn.linear_model.LogisticRegression", "features": "embeddings",
             "params": {"C": 10.0}},
            {"name": "blend", "ensemble": ["terms", "vectors"]},
        ],
        "validation": {"folds": 3},
        "reject": {"max_false_rejects": 0.1},
        "gate": {"min_cases": 20, "resamples": 200},
        "drift": {"min_rows": 40, "embeddings": True, "performance": {"metric": "accuracy", "max_drop": 0.1, "min_cases": 20}},
    }  # fmt: skip
    return TextSpec.model_validate(values | changes)


def train(one: TextSpec, frame: pd.DataFrame, encoder: Any = None) -> tuple[Any, Any, Any]:
    """Family, leaderboard and fitted winner, as the training DAG makes them."""
    family = encoder if isinstance(encoder, Text) else Text(encoder or WordVectors())
    found = {c.name: family.validate(one, c, frame)[0] for c in one.candidates if c.estimator}
    board = family.rank(one, frame, found)
    return family, board, family.fit(one, frame, board, found)


@pytest.fixture(scope="session")
def case() -> SimpleNamespace:
    """The functions above."""
    return SimpleNamespace(texts=texts, spec=spec, train=train, WordVectors=WordVectors, KINDS=KINDS)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """One trained model with what it was trained from; its winner sees terms and vectors."""
    one, frame = spec(), texts(400)
    family, board, model = train(one, frame)
    return SimpleNamespace(frame=frame, spec=one, family=family, board=board, model=model)
