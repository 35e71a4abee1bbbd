"""JSON Schema of the YAML, so that editors complete fields and underline mistakes while one types."""

import json
from pathlib import Path

from baton.contracts.expectations import known_expectations
from baton.specs.kinds import KINDS, Kind, json_schema


def export(folder: Path) -> list[Path]:
    """Writes `model.schema.json`, and so for contract, sources, retention and actions, into a folder.

    Returns:
        the files, in that order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        path = folder / f"{kind}.schema.json"
        path.write_text(json.dumps(editor_schema(kind), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def editor_schema(kind: Kind) -> dict[str, object]:
    """The schema with what only an editor needs: the names of expectations, a title."""
    schema = json_schema(kind)
    schema["title"] = f"Baton {kind}"
    if kind == "contract":
        schema["$defs"]["ExpectationSpec"]["properties"]["type"]["enum"] = sorted(known_expectations())
    return schema
