"""Letters that need no model: greeting, body by type, closing, in the sender's language."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from baton_packs.customer_experience import HERE

FILE = HERE / "prompts" / "letters.yaml"
DEFAULT = "en"  # also of languages that no letter is written in


@cache
def wordings() -> dict[str, dict[str, Any]]:
    """Language -> its wordings."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def body(row: Mapping[Any, Any]) -> str:
    """The body of an answer to a document; `row` is a decision of `intake.stages.decide`."""
    words = _words(row)
    if row["action"] == "follow_up":
        missing = ", ".join(words["missing"][name] for name in json.loads(row["missing"]))
        return str(words["follow_up"]).format(missing=missing)
    return str(words[row["type"] if row["type"] in words else "enquiry"])


def letter(row: Mapping[Any, Any], text: str, on_file: bool) -> str:
    """A body between greeting and closing.

    Args:
        on_file: the name is the customer's on file; one that a letter brought is not repeated: whoever forges a sender
            could else have a text of theirs sent to somebody by us.
    """
    words, name = _words(row), row.get("sender_name") if on_file else None
    greeting = str(words["greeting"]).format(name=name) if isinstance(name, str) and name else words["stranger"]
    return f"{greeting}\n\n{text.strip()}\n\n{words['closing']}\n"


def _words(row: Mapping[Any, Any]) -> dict[str, Any]:
    return wordings().get(str(row.get("language") or DEFAULT), wordings()[DEFAULT])
