"""Model families: one kind of model each, through its whole life; no I/O but the folder handed in.

`family` gives what the lifecycle's stages work with. Imports drift, packs, specs and the floors below them; each kind of
model is a room of its own, behind this door.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from baton.errors import ModelError

if TYPE_CHECKING:
    from baton.families.base import Family, Fitted

NAMES = ("anomaly", "classification", "forecast", "text")
ROW_LOCAL = ("anomaly", "classification", "text")  # a row's score depends on no other row; see `base.Family`


def family(name: str) -> Family:
    """Return the family a model spec names. Raises ModelError: no such family; the message lists those there are."""
    if name in ("anomaly", "classification"):
        from baton.families.tabular.family import Tabular
        from baton.families.tabular.selection import learner

        return Tabular(learner(name))
    if name == "forecast":
        from baton.families.forecast.family import Forecast

        return Forecast()
    if name == "text":
        from baton.families.text.family import Text

        return Text()
    raise ModelError(f"family {name!r} does not exist; there are: {', '.join(NAMES)}")


def load(folder: Path) -> Fitted:
    """Restore the model saved in `folder`; the caller has verified the folder's manifest before.

    Only our own JSON, LightGBM's text format and skops files with the pinned list of types are read.

    Raises:
        ModelError: model.json is missing, of another format version, or a file holds a type that is not trusted.
    """
    from baton.families.base import MODEL_FILE

    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise ModelError(f"{folder}: {MODEL_FILE} is missing, this is not a saved Baton model")
    return family(json.loads(path.read_text(encoding="utf-8"))["family"]).load(Path(folder))
