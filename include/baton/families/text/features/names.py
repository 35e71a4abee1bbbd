"""Names of people on record: no term that a model keeps of its training texts may hold one."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import pandas as pd

COMMON = (
    0.01  # share of other people's texts that hold a word of a name before it counts as one like any other: mark, will
)


@dataclass(frozen=True)
class Names:
    """What a term may not hold, in small letters.

    Attributes:
        words: of names, but for those that other people's texts use.
        pairs: two words of one name, in either order.
        capitals: words that no text begins with a small letter: two of them side by side may name somebody not on record.
    """

    words: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = frozenset()
    capitals: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: pd.DataFrame, columns: Sequence[str], texts: Sequence[str]) -> Self:
        """Names in the `columns` of the rows, whose texts (shape (n,)) say which of their words are common ones.

        A name counts as it is written and without its accents; letters alone are no words of it. The text of nobody on
        record says nothing: it may name the same people.
        """
        own = [_words(cells) for cells in zip(*(rows[column] for column in columns), strict=True)]
        known = frozenset[str]().union(*own)
        written = {(text, mine) for text, mine in zip(texts, own, strict=True) if mine}
        by_others: Counter[str] = Counter()
        for text, mine in written:
            by_others.update((known - mine) & set(re.findall(r"\w+", text.lower())))
        pairs = {(one, other) for mine in own for one in mine for other in mine if one != other}
        # an address is written small whoever it names
        runs = {run for text in set(texts) for run in text.split() if not {"@", "/"} & set(run)}
        every = {word for run in runs for word in re.findall(r"[^\W\d_]{2,}", run)}
        capitals = {word.lower() for word in every} - {word.lower() for word in every if word[0].islower()}
        rare = frozenset(one for one in known if by_others[one] <= COMMON * len(written))
        return cls(rare, frozenset(pairs), frozenset(capitals))

    def hold(self, term: str) -> bool:
        """Whether a term, words with a space between, holds a name or a part of one that is no common word."""
        found = term.split()
        named = (pair in self.pairs or self.capitals.issuperset(pair) for pair in pairwise(found))
        return not self.words.isdisjoint(found) or any(named)


NOBODY = Names()


def _words(cells: Sequence[object]) -> frozenset[str]:
    text = " ".join(cell for cell in cells if isinstance(cell, str)).lower()
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return frozenset(word for word in re.findall(r"[^\W\d_]+", f"{text} {plain}") if len(word) > 1)
