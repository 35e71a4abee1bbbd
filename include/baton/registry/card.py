"""Model cards: what a version is, in Markdown, for the version page in MLflow and inside the model folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from baton.registry.review import MEANS, GateResult, decision_of
from baton.specs.model import ModelSpec

TEMPLATES = Path(__file__).parent
# MLflow's database columns end there
MAX_DESCRIPTION = 5000
# the card begins with its title; what stands above is the verdict
_TITLE = re.compile(r"^## (?!Gate: )", re.MULTILINE)
_PADDED = "&nbsp;"  # MLflow's page draws a table's cells without any space between them
_CUT = "\n\n*Shortened; the whole card is `model_card.md` in the version's artefacts.*\n"


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond the spec.

    Attributes:
        model: name of the registered model.
        family: name of the family.
        owner: who answers for it.
        description: what it decides and for whom.
        candidate: name of the winning candidate.
        estimator: its dotted path, "" for an ensemble.
        occasion: partition or run that it was trained for.
        approval: who says yes before it becomes champion.
        intended_use: what it is for, and what it is not for.
        data: training data by name of the fact (rows, positives, address, hash).
        metrics: held-out metrics.
        leaderboard: one row per candidate, same columns in each.
        features: columns that the model sees, in its order.
        meanings: what a column means, as the training contract says; not of each.
        limits: what the user of a score must know.
    """

    model: str
    family: str
    owner: str
    description: str
    candidate: str
    estimator: str
    occasion: str
    approval: str
    intended_use: str
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    leaderboard: Sequence[Mapping[str, Any]] = ()
    features: Sequence[str] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()


def card_facts(spec: ModelSpec, candidate: str, use: str, **training: Any) -> CardFacts:
    """Facts of a card as the spec and one training give them.

    Args:
        candidate: name of the winning candidate.
        use: what one prediction means.
        training: the other fields of `CardFacts`.
    """
    winner = next((entry for entry in spec.candidates if entry.name == candidate), None)
    estimator = (winner.estimator or "") if winner else ""
    use = f"{use} Not for data that the contract `{spec.training.contract}` does not admit."
    names: dict[str, Any] = {"model": spec.model, "family": spec.family, "owner": spec.owner, "candidate": candidate}
    names |= {"description": spec.description, "estimator": estimator, "approval": spec.approval.mode}
    names["intended_use"] = use
    return CardFacts(**names, **training)


def model_card(facts: CardFacts) -> str:
    """Render a model card in Markdown; values cannot break out of their table cell or carry HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is Markdown; the filter `md` escapes each value for it
    )
    environment.filters.update(md=_md, cell=_cell)
    by_meaning: dict[str, list[str]] = {}
    for name in facts.features:
        by_meaning.setdefault(facts.meanings.get(name, ""), []).append(name)
    text = environment.get_template("model_card.md.j2").render({**asdict(facts), "meanings": by_meaning})
    return re.sub(r"\n{3,}", "\n\n", text)


def with_gate(card_md: str, verdict: GateResult | None) -> str:
    """Return a card below the gate's verdict, which replaces an earlier one, within MLflow's limit of length.

    Args:
        card_md: the card, or a version's description.
        verdict: None for a version that no gate has judged yet.
    """
    title = _TITLE.search(card_md)
    card = _spaced(card_md[title.start() if title else 0 :].rstrip() + "\n")
    gate = "" if verdict is None else _spaced(_gate_section(verdict))
    room = MAX_DESCRIPTION - len(gate)
    if len(card) > room:
        lines = card[: max(room - len(_CUT), 0)].split("\n")
        card = "\n".join(lines[:-1]) + _CUT  # whole lines only, so that no table ends in the middle of a row
    return gate + card


def _spaced(text: str) -> str:
    """Tables with space between their cells; those that have it stay as they are."""
    lines = text.replace(_PADDED, "").split("\n")
    heads = {number for number, line in enumerate(lines) if re.fullmatch(r"\|[ |-]+\|", line)}
    return "\n".join(
        line.replace(" | ", f"{_PADDED}{_PADDED} | ") if line.startswith("|") and number not in heads else line
        for number, line in enumerate(lines)
    )


def _gate_section(verdict: GateResult) -> str:
    decision = decision_of(verdict)
    lines = [f"## Gate: {_md(decision)}", ""]
    if decision == "PROMOTE":
        lines += ["To answer, set the tag `baton.review` below to `approved` or `rejected`.", ""]
    elif decision in MEANS:
        lines += [f"No answer is asked: {MEANS[decision]}.", ""]
    lines += [f"- {_md(reason)}" for reason in verdict.reasons]
    if table := gate_table(verdict.table):
        lines += ["", *table]
    text = "\n".join(lines)
    if len(text) > MAX_DESCRIPTION // 2:  # the whole table is in gate.json
        text = text[: MAX_DESCRIPTION // 2].rsplit("\n", 1)[0]
    return text + "\n\n"


def gate_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The gate's figures as lines of a Markdown table; none without figures. Values cannot break out of their cell."""
    if not rows:
        return []
    columns = list(rows[0])
    lines = ["| " + " | ".join(map(_md, columns)) + " |", "|" + " --- |" * len(columns)]
    return lines + ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]


def _md(value: Any) -> str:
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]|<>#])", r"\\\1", text) if re.search(r"[|<>\[\]]", text) else text


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else _md(value)
