"""Junk among real mails: the 6,046 of the SpamAssassin public corpus, read by our reader, told apart by the text family.

    python tests/bench/bench_junk.py [seed]

The candidates are those of the shipped `document_type` (words by logistic regression and by a linear SVM, and their blend),
the two classes those of the corpus; the model sees what it sees in the flow: subject and text as the reader gives them, no
headers. A fifth of the mails, drawn with the seed, is held out; equal texts lie on one side. Peer, in the same run and on the
same split: scikit-learn's TF-IDF and logistic regression on the raw bytes, headers and all, which tell more (the servers a
mail passed), but nothing that a document from another mailbox would have.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

sys.path.insert(0, str(Path(__file__).parent))
from bench_mails import mails

from baton.families.text.family import Text
from baton.packs.pack import find_model
from baton.settings import settings
from baton.specs.text import TextSpec
from baton_packs.customer_experience.reading.mail import message as mail

HELD_OUT = 0.2


def frame_of(known: list[tuple[bytes, str]], seed: int) -> pd.DataFrame:
    """Mails as the family takes them; `_part` says what is held out, by text."""
    read = [mail.read(data) for data, _ in known]
    frame = pd.DataFrame({
        "document_id": [str(number) for number in range(len(known))], "subject": [one.subject for one in read],
        "sender_name": [one.sender_name for one in read], "text": [one.text for one in read], "type": [label for _, label in known], "_row": range(len(known)),
    })  # fmt: skip
    groups = frame.groupby(["subject", "text"], sort=False).ngroup().to_numpy()
    drawn = np.random.default_rng(seed).permutation(groups.max() + 1) < HELD_OUT * (groups.max() + 1)
    part = np.where(drawn[groups], "holdout", "train")
    at = pd.Timestamp("2026-01-01", tz="UTC")
    return frame.assign(received_at=at, _part=part, _weight=1.0, _partition="")


def ours(frame: pd.DataFrame, seed: int) -> tuple[np.ndarray, str]:
    """What the family says of the held-out mails, and which candidate it chose on the others."""
    _, shipped = find_model("document_type")
    plain = shipped.model_dump(mode="json")
    plain["training"]["seed"], plain["drift"], plain["reject"] = seed, None, None
    spec, family = TextSpec.model_validate(plain), Text()
    found = {one.name: family.validate(spec, one, frame)[0] for one in spec.candidates if one.estimator}
    board = family.rank(spec, frame, found)
    model = family.fit(spec, frame, board, found)
    said = model.predict(frame[frame["_part"] == "holdout"]).probability.argmax(axis=1)
    return np.array(model.classes, dtype=object)[said], board.best


def theirs(texts: list[str], frame: pd.DataFrame) -> np.ndarray:
    """What the peer says of the held-out mails."""
    held = (frame["_part"] == "holdout").to_numpy()
    vectors = TfidfVectorizer(sublinear_tf=True, min_df=2)
    learnt = vectors.fit_transform([text for text, out in zip(texts, held, strict=True) if not out])
    model = LogisticRegression(C=10.0, max_iter=1000).fit(learnt, frame["type"][~held])
    return np.asarray(model.predict(vectors.transform([text for text, out in zip(texts, held, strict=True) if out])))


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Accuracy and F1 of junk on the held-out mails."""
    known = list(mails())
    if not known:
        return []
    frame = frame_of(known, seed)
    truth = frame.loc[frame["_part"] == "holdout", "type"].to_numpy()
    began = time.perf_counter()
    said, winner = ours(frame, seed)
    seconds = time.perf_counter() - began
    peer = theirs([data.decode("latin-1") for data, _ in known], frame)
    shared = {
        "seed": seed, "unit": "", "larger_is_better": True, "peer": "TF-IDF + logistic regression on raw mails",
        "load": os.getloadavg()[0], "versions": {"scikit-learn": version("scikit-learn")}, "winner": winner,
        "held_out": len(truth), "seconds": seconds,
    }  # fmt: skip
    figures = []
    for name, measure in (
        ("accuracy", accuracy_score),
        ("f1", lambda truth, said: f1_score(truth, said, pos_label="spam")),
    ):
        value, other = float(measure(truth, said)), float(measure(truth, peer))
        figures.append({**shared, "name": f"junk_{name}", "value": value, "target": None, "peer_value": other,
                        "ratio": value / other})  # fmt: skip
    return figures


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, settings().home / "bench")
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
