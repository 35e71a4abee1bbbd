"""A draft of the technical documentation that Annex IV of the EU's AI Act asks for: where the pack has it, what is left to the provider."""

import json
from collections.abc import Iterator, Mapping

from baton.evidence.pack import Dossier

# point -> what it asks for, files of the pack that say something of it, what only the provider knows
_POINTS = (
    ("general description of the system", ("card.md",), "provider, versions of software and hardware, forms of delivery, interface for users"),
    ("elements and development", ("card.md", "gate.jsonl", "model/manifest.json"), "design choices, data's origin and rights, human oversight measures, cybersecurity"),
    ("monitoring, functioning and control", ("drift.jsonl", "contracts.jsonl", "usage.jsonl"), "foreseeable unintended outcomes, accuracy for groups of persons"),
    ("appropriateness of the performance metrics", ("gate.jsonl",), "why these metrics"),
    ("risk management system", (), "all of it (Article 9)"),
    ("relevant changes through the lifecycle", ("ledger/entries.jsonl", "approvals.jsonl"), "changes outside Baton"),
    ("harmonised standards applied", (), "all of it"),
    ("EU declaration of conformity", (), "all of it"),
    ("post-market monitoring plan", ("drift.jsonl",), "the plan (Article 72)"),
)  # fmt: skip


def annex_iv(given: Dossier, rows: Mapping[str, int]) -> str:
    """The draft in Markdown; points that the provider fills in are added to `given.missing`.

    Args:
        rows: rows by name of a file.
    """
    lines = [f"# Technical documentation, draft: {given.about}", ""]
    lines += ["Drawn up by Baton from its record. Not a declaration of conformity; no point of it is complete.", ""]
    for number, (title, files, left) in enumerate(_POINTS, start=1):
        here = [name for name in files if name in given.files and rows.get(name, 1)]
        lines += [f"## {number}. {title[0].upper()}{title[1:]}", ""]
        lines += [f"In this pack: {', '.join(f'`{name}`' for name in here)}." if here else "In this pack: nothing.", ""]
        lines += [*_groups(given), ""] if number == 3 else []
        lines += [f"To be filled in by the provider: {left}.", ""]
        given.missing[f"Annex IV, point {number}"] = f"{'partial' if here else 'nothing'}; the provider fills in {left}"
    return "\n".join(lines)


def _groups(given: Dossier) -> Iterator[str]:
    """What the gate found for declared groups of rows."""
    rules = [
        rule
        for line in given.files.get("gate.jsonl", b"").splitlines()
        for rule in json.loads(line).get("fairness") or []
    ]
    for rule in rules:
        what, gap = str(rule["metric"]).replace("_", " "), rule["gaps"].get("challenger")
        found = "not judged" if gap is None else f"{gap:.4f}, at most {rule['max_gap']:.4f}"
        yield f"Groups by `{rule['column']}`, {what}: {len(rule['groups'])} groups, largest gap {found}."
        if few := [f"{one['group']} ({one['counted']} rows)" for one in rule["groups"] if not one["judged"]]:
            yield f"Too few rows to judge: {', '.join(few)}."
    if not rules:
        yield "Groups: the model's gate declares none (`gate.fairness`), so nothing is known of them."
