"""Retrieval: the answer of the knowledge base that a message asks for, and how sure that is.

Three signs are added for each entry: terms (BM25), meaning (sentence vectors) and what the intent model said. Their
weights, and that of the answer "none of them", were chosen by cross-validation (`tests/bench/bench_retrieval.py
choose`), so that the softmax over the entries and "none" is a probability: `best_score` is the probability that the best
entry is what the message asks for, if one message in ten asks for what no entry answers. It falls when two entries are
equally near and when nothing is near; where the intent model is less sure than it is right, so is the score. Entries that
know texts of customers are nearer to the next such text; therefore there is one row of weights per number of examples.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import SourceError
from baton.families.text.features.encoder import packaged_encoder
from baton.jsontext import to_json
from baton_packs.customer_experience.service.knowledge import entries
from baton_packs.customer_experience.service.search_index import Index

EXAMPLES = 20  # of an intent's labelled texts, the latest: more find better but cost time in every process
SHOWN = 3
COLUMNS = ["message_id", "entries", "best", "best_score", "answer"]


@dataclass(frozen=True)
class Weights:
    """What the signs count; `none` is what an entry must reach to be as likely as "none of them".

    Attributes:
        examples: so many examples per entry (median) at least.
    """

    examples: int
    terms: float
    meaning: float
    intent: float
    none: float


WEIGHTS = (
    Weights(60, 5.0, 13.4, 2.7, 13.1),
    Weights(20, 4.5, 9.8, 4.3, 9.8),
    Weights(10, 4.0, 8.3, 5.0, 8.7),
    Weights(0, 1.8, 5.8, 6.8, 6.6),
)


def retrieve(messages: pd.DataFrame, intents: pd.DataFrame, history: pd.DataFrame | None = None) -> pd.DataFrame:
    """The three nearest entries of each message.

    Args:
        messages: message_id, text.
        intents: entity_key (a message_id), accepted (bool), reasons (JSON or list: [[intent, probability], ...]). A text
            that the model did not accept is searched by terms and meaning alone.
        history: text, intent (as people confirmed it; "" is left out), oldest first. Its latest texts of every intent
            become the entries' examples; None: the entries are found by what they say themselves, much less often.

    Returns:
        One row per message, in their order: message_id, entries (JSON list of {entry, title, score}, best first), best
        (an entry's id), best_score (0..1, see the module), answer (the best entry's text).

    Raises:
        SourceError: a message has no row in `intents`, or two; a column is missing; the encoder was not fetched.
    """
    _need(messages, ["message_id", "text"], "messages")
    _need(intents, ["entity_key", "accepted", "reasons"], "intents")
    said = intents.set_index("entity_key")
    if twice := int(said.index.duplicated().sum()):
        raise SourceError(f"retrieval: intents says of {twice} messages more than once; pass one row per message")
    if missing := len(set(messages["message_id"]) - set(said.index)):
        raise SourceError(f"retrieval: intents says nothing of {missing} messages; score the same messages first")
    if messages.empty:
        return pd.DataFrame(columns=COLUMNS, dtype=object).astype({"best_score": "float64"})
    texts = ["" if text is None or text is pd.NA else str(text) for text in messages["text"]]
    rows = said.loc[messages["message_id"]]
    sure = rows["accepted"].astype(bool)
    reasons = [_pairs(one) if accepted else [] for one, accepted in zip(rows["reasons"], sure, strict=True)]
    index = _bare() if history is None or history.empty else Index(entries(), packaged_encoder(), examples(history))
    probability = search(index, texts, reasons)
    order = np.argsort(-probability, axis=1, kind="stable")[:, :SHOWN]
    found = []
    for message, best, scores in zip(messages["message_id"], order, probability, strict=True):
        near, first = [(index.entries[at], float(scores[at])) for at in best], index.entries[best[0]]
        listed = [{"entry": entry.id, "title": entry.title, "score": round(score, 4)} for entry, score in near]
        found.append((message, to_json(listed), first.id, float(scores[best[0]]), first.answer))
    return pd.DataFrame(found, columns=COLUMNS)


def search(index: Index, texts: Sequence[str], reasons: Sequence[Sequence[tuple[str, float]]]) -> np.ndarray:
    """Probability that an entry is the one asked for, shape (texts, entries); a row adds up to less than 1."""
    weights = next(one for one in WEIGHTS if index.examples >= one.examples)
    found = weights.terms * index.terms(texts) + weights.meaning * index.meaning(texts)
    found = found + weights.intent * index.intents(reasons)
    most = np.maximum(found.max(axis=1, keepdims=True), weights.none)
    likely = np.exp(found - most)
    return np.asarray(likely / (likely.sum(axis=1, keepdims=True) + np.exp(weights.none - most)))


def examples(history: pd.DataFrame, most: int = EXAMPLES) -> dict[str, list[str]]:
    """intent -> its latest distinct texts, at most `most`."""
    _need(history, ["text", "intent"], "history")
    known = history[history["intent"].fillna("").astype(str).ne("") & history["text"].notna()]
    latest = known.drop_duplicates(["text", "intent"], keep="last").groupby("intent", sort=True)["text"]
    return {str(intent): [str(text) for text in texts.tail(most)] for intent, texts in latest}


def counted(history: pd.DataFrame) -> list[int]:
    """How many examples each entry that answers an intent has, in the order of the knowledge base."""
    given = examples(history)
    return [len(given.get(entry.intent, [])) for entry in entries() if entry.intent]


@cache
def _bare() -> Index:
    return Index(entries(), packaged_encoder())


def _pairs(reasons: Any) -> list[tuple[str, float]]:
    pairs = json.loads(reasons) if isinstance(reasons, str) else reasons
    return [(str(intent), float(probability)) for intent, probability in (() if pairs is None else pairs)]


def _need(frame: pd.DataFrame, columns: list[str], name: str) -> None:
    if missing := [column for column in columns if column not in frame]:
        raise SourceError(f"retrieval: {name} has no column {', '.join(missing)}; it has {', '.join(map(str, frame))}")
