"""The search index: how close a text is to each answer, by its terms (BM25) and by its meaning (sentence vectors).

An entry is found by its title, its answer, its own questions and by examples: texts of customers that people gave to the
entry's intent. The examples are what makes it find things; without them customers' words and the bank's are too different.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from baton.families.text.features.encoder import Encoder
from baton.families.text.features.terms import masked
from baton_packs.customer_experience.service.knowledge import Entry

NEAREST = 3  # an entry is as near as the mean of its nearest vectors
_K1, _B = 1.2, 0.75  # the usual constants of BM25
_WORD = re.compile(r"\w+")
_CHUNK = 512  # texts compared at once


class Bm25:
    """Okapi BM25 over words and pairs of words; each term of a query counts once."""

    def __init__(self, documents: Sequence[str], span: tuple[int, int] = (1, 2)) -> None:
        """Weigh the documents' terms; numbers, addresses and links are no terms."""
        # its default takes words of one letter for none
        self._counter = CountVectorizer(tokenizer=_WORD.findall, preprocessor=masked, token_pattern=None,
                                        ngram_range=span, dtype=np.float32)  # fmt: skip
        counts = self._counter.fit_transform(documents).tocoo()
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        present = np.bincount(counts.col, minlength=counts.shape[1])
        rarity = np.log1p((len(documents) - present + 0.5) / (present + 0.5))
        long = _K1 * (1 - _B + _B * lengths[counts.row] / lengths.mean())
        weights = counts.data * (_K1 + 1) / (counts.data + long) * rarity[counts.col]
        self._weights = sparse.csr_matrix((weights, (counts.col, counts.row)), (counts.shape[1], counts.shape[0]))
        self._most = rarity * (_K1 + 1)

    def share(self, texts: Sequence[str]) -> np.ndarray:
        """What each document reaches of the score that a perfect one would, shape (texts, documents), 0 to 1."""
        query = self._counter.transform(texts).sign()
        most = np.asarray(query @ self._most).reshape(-1, 1)
        return np.asarray((query @ self._weights).todense()) / np.maximum(most, 1e-9)


class Index:
    """The entries, ready to be searched; the vectors are computed once, here."""

    def __init__(
        self, entries: Sequence[Entry], encoder: Encoder, examples: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Prepare.

        Args:
            examples: intent -> texts of customers; intents that no entry answers are left out.
        """
        given = {entry.id: list((examples or {}).get(entry.intent or "", [])) for entry in entries}
        own = [[entry.title, entry.answer, *entry.questions, *given[entry.id]] for entry in entries]
        self.entries = tuple(entries)
        self.examples = float(np.median([len(given[e.id]) for e in entries if e.intent])) if entries else 0.0
        self._encoder = encoder
        self._bm25 = Bm25([" ".join(texts) for texts in own])
        self._vectors = encoder.encode([text for texts in own for text in texts])
        self._ends = np.cumsum([len(texts) for texts in own])
        self._column = {entry.intent: at for at, entry in enumerate(entries) if entry.intent}

    def terms(self, texts: Sequence[str]) -> np.ndarray:
        """Closeness by terms, shape (texts, entries), 0 to 1."""
        return self._bm25.share(texts)

    def meaning(self, texts: Sequence[str]) -> np.ndarray:
        """Closeness by meaning: mean cosine to the entry's nearest vectors, shape (texts, entries)."""
        vectors = self._encoder.encode(texts)
        found = np.zeros((len(texts), len(self.entries)))
        for start in range(0, len(texts), _CHUNK):
            cosine = vectors[start : start + _CHUNK] @ self._vectors.T
            for at, (begin, end) in enumerate(zip([0, *self._ends[:-1]], self._ends, strict=True)):
                near = min(NEAREST, end - begin)
                part = np.partition(cosine[:, begin:end], -near, axis=1)[:, -near:]
                found[start : start + _CHUNK, at] = part.mean(axis=1)
        return found

    def intents(self, reasons: Sequence[Sequence[tuple[str, float]]]) -> np.ndarray:
        """The intent model's probabilities as the entries' columns, shape (texts, entries); 0 where it said nothing."""
        found = np.zeros((len(reasons), len(self.entries)))
        for row, pairs in enumerate(reasons):
            for intent, probability in pairs:
                if intent in self._column:
                    found[row, self._column[intent]] = probability
        return found
