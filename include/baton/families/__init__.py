"""Model families: fit, predict, explain, save and load; no I/O but the folder handed in, no Airflow, no registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from baton.families.base import Family, FittedModel

NAMES = ("anomaly", "classification")


def family(name: str) -> Family:
    """Return the family a model spec names.

    Raises:
        ModelError: no such family; the message lists those there are.
    """
    from baton.families.base import ModelError

    if name == "classification":
        from baton.families.classification import Classification

        return Classification()
    if name == "anomaly":
        from baton.families.anomaly import Anomaly

        return Anomaly()
    raise ModelError(f"family {name!r} does not exist; there are: {', '.join(NAMES)}")


def load(folder: Path) -> FittedModel:
    """Restore the model saved in `folder`; the caller has verified the folder's manifest before.

    Only our own JSON, LightGBM's text format and skops files with the pinned list of types are read.

    Raises:
        ModelError: model.json is missing, of another format version, or a file holds a type that is not trusted.
    """
    from baton.families.base import MODEL_FILE, ModelError

    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise ModelError(f"{folder}: {MODEL_FILE} is missing, this is not a saved Baton model")
    return family(json.loads(path.read_text(encoding="utf-8"))["family"]).load(Path(folder))
