"""Masking: personal data are hidden from a model behind placeholders, and put back outside of it.

A `Mask` belongs to one case. The same value has the same placeholder in all of its texts (`[NAME_1]`, `[MAIL_1]`), so a
model can tell two people apart without knowing either. What is found: the values that the pack knows to be personal, in
many writings; what has the shape of personal data (`personal`); names that the pack's detector sees in free text. What
nobody knows and nothing recognises stays: a name alone in a text of a pack without a detector.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from baton.agents.case import AgentQuestion
from baton.agents.personal import (
    LINK,
    NAME,
    NUMBER,
    Detector,
    Folded,
    PersonalSpan,
    Writings,
    by_shape,
    by_value,
    fold,
    writings,
)

READ = 20_000  # characters of a text of others in which names are looked for, also where less of it is shown
MARGIN = 500  # characters beyond what is shown that are masked with it, so that no value is cut in two
_KIND = re.compile(r"[A-Z]{2,12}")
_PLACEHOLDER = re.compile(r"\[[A-Z]{2,12}_\d{1,4}\]")
# one that is not there, half of one, or a blank such as [Your Name] that a model leaves for somebody to fill
_LOOKS_LIKE_ONE = re.compile(
    r"\[[A-Z][A-Z _-]*\d{0,4}\]?|\b[A-Z]{2,12}_\d{1,4}\b|"
    r"(?i:\[ ?(?:name|mail|phone|account|card|number|address|link|text|your|customer|insert|enter|company|date|amount)\b)"
)


class Mask:
    """What one case hides."""

    def __init__(self, personal: Mapping[str, Sequence[str]] | None = None, names: Detector | None = None) -> None:
        """Prepares the known values.

        Args:
            personal: values known to be personal by kind, such as {"NAME": ["Ann Smith"], "MAIL": [...]}; other kinds:
                PHONE, ACCOUNT, CARD, NUMBER, ADDRESS, LINK, or one of your own in capitals.
            names: what the pack finds in free text.

        Raises:
            TypeError, ValueError: a value is no text, or a kind not in capitals.
        """
        self._names = names
        self._values: dict[str, str] = {}  # placeholder -> the value as it was written
        self._placeholders: dict[tuple[str, str], str] = {}
        self._ours: set[str] = set()  # placeholders of what the pack gave: in its facts, or as known values
        self._known: dict[tuple[str, str], tuple[Writings, bool]] = {}
        self._found: dict[str, list[PersonalSpan]] = {}
        for kind, values in (personal or {}).items():
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"personal: {kind} must be a list of texts")
            for value in values:
                self._learn(kind, value, given=True)

    def case(self, case: AgentQuestion, longest: int | None = None) -> AgentQuestion:
        """The case as the model may see it: facts and data hidden, no terms.

        Args:
            longest: characters of each text of data that the model will be shown; None: all of them.

        Raises:
            Exception: whatever the pack's detector raises; then nobody may be asked.
        """
        read = [text if longest is None else text[:READ] for text in _texts(case.data)]
        for text in [*_texts(case.facts), *read]:  # before the first is hidden: a name found late counts
            for span in self._guessed(text):
                if span.kind == NAME:
                    self._learn(NAME, text[span.start : span.end], given=False)
        return replace(
            case, facts=self.hidden(case.facts), data=self._hide(case.data, False, longest), terms={}, personal={}
        )

    def hide(self, text: str, ours: bool = True, longest: int | None = None) -> str:
        """The text with placeholders; `restore` gives it back character by character.

        Args:
            ours: False for a text of other people: what only they brought may not be quoted (`borrowed`).
            longest: characters of the text that are wanted; what stands behind them is cut off. None: all of it.
        """
        if longest is None:
            spans = self._spans(text, self._guessed(text))
        else:
            guessed, whole = self._guessed(text[:READ]), len(text)
            window = text[: longest + MARGIN]
            near = [span._replace(end=min(span.end, len(window))) for span in guessed if span.start < len(window)]
            spans = self._spans(window, near)
            spans = [(span, known) for span, known in spans if span.start < longest]
            text = window[: max([longest, *(span.end for span, _ in spans)])] + ("…" if whole > longest else "")
        parts, end = [], 0
        for span, known in spans:
            placeholder = self._placeholder(span.kind, text[span.start : span.end])
            if ours or known:
                self._ours.add(placeholder)
            parts += [text[end : span.start], placeholder]
            end = span.end
        return "".join([*parts, text[end:]])

    def hidden(self, value: Any) -> Any:
        """JSON of ours (facts, what a tool found) with all its texts hidden."""
        return self._hide(value, ours=True)

    def restore(self, text: str) -> str:
        """The text with the values that its placeholders stand for; `stray` says beforehand which stand for none."""
        return _PLACEHOLDER.sub(lambda match: self._values.get(match.group(), match.group()), text)

    def restored(self, value: Any) -> Any:
        """JSON with all its texts restored."""
        return _in_texts(value, self.restore)

    def bare(self, value: Any) -> Any:
        """A text or JSON without this mask's placeholders, whose numbers are nobody's."""
        return _in_texts(value, lambda text: _PLACEHOLDER.sub(self._blank, text))

    def stray(self, text: str) -> str | None:
        """Why an answer cannot be restored: a placeholder of nothing, or personal data that were not asked with.

        Returns:
            the reason, without the value; None if there is none.
        """
        rest = _PLACEHOLDER.sub(self._blank, text)
        if _LOOKS_LIKE_ONE.search(rest):
            return "placeholder that stands for nothing"
        found = next(by_shape(fold(rest)), None)
        return None if found is None else f"personal data that nobody gave ({found.kind})"

    def borrowed(self, text: str) -> str | None:
        """Why an answer may not go out: it quotes an account, an address or a number that only somebody's text brought.

        Names are no harm; the rest would let a document say where money or mail is to go.

        Returns:
            the reason, without the value; None if there is none.
        """
        for placeholder in _PLACEHOLDER.findall(text):
            kind = placeholder[1:].partition("_")[0]
            if placeholder in self._values and placeholder not in self._ours and kind != NAME:
                return f"personal data from a text of others ({kind})"
        return None

    def _blank(self, match: re.Match[str]) -> str:
        return "\0" if match.group() in self._values else match.group()

    def _learn(self, kind: str, value: str, given: bool) -> None:
        if not _KIND.fullmatch(kind):
            raise ValueError(f"personal: {kind!r} is no kind; write 2 to 12 capitals, such as NAME")
        if (kind, value) not in self._known and (written := writings(kind, value, given)) is not None:
            self._known[kind, value] = written, given

    def _guessed(self, text: str) -> list[PersonalSpan]:
        if text not in self._found:
            found = [] if self._names is None else [PersonalSpan(*span) for span in self._names(text)]
            self._found[text] = [span for span in found if span.start < span.end]
        return self._found[text]

    def _spans(self, text: str, guessed: Sequence[PersonalSpan]) -> list[tuple[PersonalSpan, bool]]:
        """What is to be hidden, in order, and whether the pack gave it; what overlaps is hidden as one, without a rest."""
        folded: Folded = fold(text)
        # somebody may write a placeholder to get at what it stands for
        found = [PersonalSpan(*match.span(), "TEXT") for match in _PLACEHOLDER.finditer(text)]
        found += [*by_shape(folded), *guessed]
        given: set[PersonalSpan] = set()
        for (kind, _), (written, from_pack) in self._known.items():
            spans = list(by_value(folded, written, kind))
            found += spans
            given.update(spans if from_pack else [])
        merged: list[PersonalSpan] = []
        for span in sorted(found, key=lambda one: (one.start, -one.end)):
            if merged and span.start < merged[-1].end:
                last = merged[-1]
                kind = span.kind if last.kind in (NUMBER, LINK) else last.kind
                merged[-1] = PersonalSpan(last.start, max(last.end, span.end), kind)
            else:
                merged.append(span)
        starts = [one.start for one in merged]  # each given span lies in one of them
        places = [(own, bisect_right(starts, own.start) - 1) for own in given]
        ours = {place for own, place in places if _covers(own, merged[place])}
        return [(one, place in ours) for place, one in enumerate(merged)]

    def _placeholder(self, kind: str, value: str) -> str:
        known = self._placeholders.get((kind, value))
        if known is None:
            number = 1 + sum(one == kind for one, _ in self._placeholders)
            known = self._placeholders[kind, value] = f"[{kind}_{number}]"
            self._values[known] = value
        return known

    def _hide(self, value: Any, ours: bool, longest: int | None = None) -> Any:
        """JSON with all its texts hidden, names of fields too; a number that is personal becomes a placeholder."""
        if isinstance(value, Mapping):
            return {self.hide(str(name), ours): self._hide(part, ours, longest) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._hide(part, ours, longest) for part in value]
        if value is None or isinstance(value, bool):
            return value
        shown = self.hide(str(value), ours, longest)
        return shown if isinstance(value, str) or shown != str(value) else value


def _covers(given: PersonalSpan, found: PersonalSpan) -> bool:
    """Is it the given value and no more, brackets apart? A link that quotes an account is not that account."""
    return (
        given.start < found.end and found.start < given.end and given.start - found.start + found.end - given.end <= 3
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else []
    return [text for part in parts for text in _texts(part)]


def _in_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _in_texts(part, change) for name, part in value.items()}
    return [_in_texts(part, change) for part in value] if isinstance(value, list | tuple) else value
