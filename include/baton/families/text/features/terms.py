"""Weighted terms (TF-IDF): runs of words, and runs of letters within a word.

What a saved model may know of its training texts is its list of terms. Numbers, anything with a digit in it (accounts,
dates, references), mail addresses and links are taken out before terms are cut, each replaced by one sign that says there
was one; a term is kept only if enough distinct texts hold it, and if it holds no name of people on record (`names`). So no
term holds a digit, an address or such a name, and no phrase that a single text alone contains.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from baton.errors import ModelError
from baton.families.text.features.names import NOBODY, Names
from baton.specs.text import TextCandidateSpec

MAX_LETTERS = 20_000  # of a text are read for terms; what makes a document's kind stands at its beginning
MAIL, LINK, NUMBER = "\u0001", "\u0002", "\u0003"  # no text that is shown to people holds them
# each looks at an unbroken run of characters once, from its beginning, and gives nothing back: a run may be long
_ADDRESS = re.compile(r"(?<!\S)\S[^\s@]*+@\S+")
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_NUMBER = re.compile(r"(?<!\S)(?:[^\s\d]*+\d)++\w*")  # up to the run's last digit and the letters behind it
_SIGN = re.compile(f"[{MAIL}{LINK}{NUMBER}]")
WORD = rf"(?u)\b\w+\b|[{MAIL}{LINK}{NUMBER}]"


def masked(text: str) -> str:
    """The text in small letters without numbers, addresses and links."""
    text = _SIGN.sub(" ", text[:MAX_LETTERS]).lower()
    for pattern, sign in ((_ADDRESS, MAIL), (_LINK, LINK), (_NUMBER, NUMBER)):
        text = pattern.sub(f" {sign} ", text)
    return text


def words(text: str) -> list[str]:
    """The words of a text, masked."""
    return re.findall(WORD, masked(text))


@dataclass(frozen=True)
class TermBlock:
    """Terms of one kind.

    Attributes:
        analyzer: word | char_wb, as scikit-learn calls it.
        span: shortest and longest run.
        terms: in order of the matrix' columns.
        weights: shape (terms,), inverse document frequencies.
    """

    analyzer: str
    span: tuple[int, int]
    terms: tuple[str, ...]
    weights: np.ndarray

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Rows of length 1 (0 without a known term) from masked texts, shape (texts, terms)."""
        counts = _vectorizer(self.analyzer, self.span, vocabulary=self.terms).transform(texts)
        return _weighted(counts, self.weights)


@dataclass(frozen=True)
class Terms:
    """One or two blocks of terms side by side."""

    blocks: tuple[TermBlock, ...]

    @classmethod
    def fit(cls, candidate: TextCandidateSpec, texts: Sequence[str], names: Names = NOBODY) -> Self:
        """Learn terms from the distinct ones of `texts`. Raises ModelError: no term is in enough texts."""
        distinct = sorted({masked(text) for text in texts})
        kinds = (("word", candidate.words), ("char_wb", candidate.letters))
        blocks = tuple(
            _learn(candidate, kind, tuple(span), distinct, names) for kind, span in kinds if span is not None
        )
        return cls(blocks)

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Matrix of shape (texts, terms), rows of length 1 at most, float32."""
        plain = [masked(text) for text in texts]
        parts = [block.transform(plain) for block in self.blocks]
        return sparse.hstack(parts, format="csr") * np.float32(1 / np.sqrt(len(parts)))

    def to_json(self) -> list[dict[str, Any]]:
        """Everything but the weights, which are stored as arrays."""
        return [{"analyzer": b.analyzer, "span": list(b.span), "terms": list(b.terms)} for b in self.blocks]

    @classmethod
    def from_json(cls, document: list[dict[str, Any]], weights: Sequence[np.ndarray]) -> Self:
        """Restore what `to_json` gave."""
        pairs = zip(document, weights, strict=True)
        return cls(
            tuple(TermBlock(d["analyzer"], (d["span"][0], d["span"][1]), tuple(d["terms"]), w) for d, w in pairs)
        )


def _vectorizer(analyzer: str, span: tuple[int, int], **options: Any) -> CountVectorizer:
    if analyzer == "word":
        options["token_pattern"] = WORD
    return CountVectorizer(analyzer=analyzer, ngram_range=span, lowercase=False, dtype=np.float32, **options)


def _learn(
    candidate: TextCandidateSpec, analyzer: str, span: tuple[int, ...], distinct: list[str], names: Names
) -> TermBlock:
    low, high = span
    try:
        counter = _vectorizer(analyzer, (low, high), min_df=candidate.min_texts)
        present = counter.fit_transform(distinct).sign()
    except ValueError as error:  # scikit-learn's words for no term left
        raise ModelError(
            f"candidate {candidate.name!r}: no term is in {candidate.min_texts} of {len(distinct)} distinct texts"
        ) from error
    found = counter.get_feature_names_out()
    free = np.array([not names.hold(term) for term in found])
    frequency, terms = np.asarray(present.sum(axis=0)).ravel()[free], found[free]
    # the most widespread ones; ties by the alphabet, so that equal texts give equal models
    kept = np.sort(np.lexsort((np.arange(len(terms)), -frequency))[: candidate.max_terms])
    weights = np.log((1 + len(distinct)) / (1 + frequency[kept])) + 1
    return TermBlock(analyzer, (low, high), tuple(map(str, terms[kept])), weights.astype(np.float32))


def _weighted(counts: sparse.csr_matrix, weights: np.ndarray) -> sparse.csr_matrix:
    counts.data = np.log(counts.data, dtype=np.float32) + np.float32(1)
    counts.data *= weights[counts.indices]
    return normalize(counts, copy=False)
