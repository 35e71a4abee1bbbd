"""Files of Sigma rules: each rule with its file and lines, parsed by pySigma, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from baton.packs.spec_file import Problem, did_you_mean, dotted
from baton.packs.yaml_marks import Loc, Marked, load_marked
from baton_packs.incident_response.detection.taxonomy import TACTICS, attack_of

LEVELS = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
"""Sigma's level -> OCSF's severity."""


@dataclass
class SigmaDocument:
    """One rule of a file: its place and lines."""

    path: Path
    first: int  # line of the file on which it starts, from 0
    marked: Marked
    rule: Any = None
    problems: list[Problem] = field(default_factory=list)

    def problem(self, loc: Loc, message: str, allowed: str = "", *, note: bool = False) -> None:
        """Notes a mistake at a field."""
        line = self.first + self.marked.line(loc)
        self.problems.append(Problem(str(self.path), line, dotted(loc), message, allowed, note))

    def value(self, loc: Loc) -> str:
        """The text or number at a place; of a block or list nothing."""
        data = self.marked.data
        for part in loc:
            data = data[part]
        return "" if isinstance(data, dict | list) else str(data)

    def find(self, name: str) -> Loc:
        """Where in the detection a field (or a word) is written."""
        places = [loc for loc in self.marked.lines if loc and str(loc[-1]).split("|")[0] == name]
        return next((loc for loc in places if loc[0] in ("detection", "correlation")), ("detection",))


def rule_files(folder: Path) -> list[Path]:
    """The rule files of a folder and below, `.yml` as Sigma names them, or `.yaml`."""
    return sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")])


def documents_of(paths: list[Path]) -> list[SigmaDocument]:
    """The rules of files; of one that is wrong only the mistakes."""
    documents = [document for path in paths for document in _documents(path)]
    _check_ids(documents)
    return documents


def _documents(path: Path) -> Iterator[SigmaDocument]:
    """The rules of a file, parsed by pySigma; one that cannot be has its mistakes and no rule."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        yield SigmaDocument(path, 0, Marked(), problems=[Problem(str(path), 1, "", f"cannot be read: {error}")])
        return
    starts = [0, *(number + 1 for number, line in enumerate(lines) if re.fullmatch(r"---\s*", line))]
    for first, after in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        text = "\n".join(lines[first : after - 1])
        if not re.sub(r"(?m)^\s*(#.*)?$", "", text).strip():
            continue
        document = SigmaDocument(path, first, load_marked(text))
        for mistake in document.marked.mistakes:
            document.problem(mistake.loc, mistake.message)
        if not document.problems:
            _parse(document)
        yield document


def _parse(document: SigmaDocument) -> None:
    data = document.marked.data
    if not isinstance(data, dict) or not {"detection", "correlation"} & set(data):
        what = (
            "is a filter; write its condition into the rule"
            if isinstance(data, dict) and "filter" in data
            else "is no rule"
        )
        document.problem((), what, "a rule with `detection`, or a `correlation`")
        return
    kind = SigmaCorrelationRule if "correlation" in data else SigmaRule
    try:
        rule = kind.from_dict(data)
        if isinstance(rule, SigmaRule):
            for condition in rule.detection.parsed_condition:
                condition.parse()
    except (SigmaError, TypeError, ValueError, AttributeError, KeyError) as error:
        document.problem(place(document, error), plain(error))
        return
    for name, allowed in (("id", "a UUID of its own"), ("level", ", ".join(LEVELS)), ("title", "a text")):
        if not getattr(rule, name):
            document.problem((name,), "is missing", allowed)
    attack = attack_of([str(tag) for tag in rule.tags])
    for unknown in attack.unknown:
        document.problem(("tags",), f"`{unknown}` is no tactic{did_you_mean(unknown, TACTICS)}", ", ".join(TACTICS))
    if not document.problems:
        document.rule = rule


def place(document: SigmaDocument, error: Exception) -> Loc:
    """Where a mistake that pySigma found is likely written: at the last name that its message quotes."""
    quoted = set(re.findall(r"'([^']+)'", str(error)))
    for loc in document.marked.lines:
        if loc and document.value(loc) in quoted:
            return loc
    for word in reversed(re.findall(r"[\w|.-]+", str(error))):
        for loc in document.marked.lines:
            if loc and (str(loc[-1]) == word or word in str(loc[-1]).split("|")[1:]):
                return loc
    names = {"Condition": ("detection", "condition"), "Correlation": ("correlation",), "Logsource": ("logsource",)}
    return next((loc for part, loc in names.items() if part in type(error).__name__), ())


def plain(error: Exception) -> str:
    """What pySigma says is wrong, in one line."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _check_ids(documents: list[SigmaDocument]) -> None:
    seen: dict[str, SigmaDocument] = {}
    for document in documents:
        if document.rule is None:
            continue
        own = str(document.rule.id)
        if own in seen:
            document.problem(("id",), f"is the id of another rule, in {seen[own].path.name}", "a UUID of its own")
            document.rule = None
        else:
            seen[own] = document
