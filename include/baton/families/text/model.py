"""A fitted text model: linear members, their blend, and the threshold below which it gives no class for sure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from scipy.special import softmax

from baton.errors import ModelError
from baton.families.base import FORMAT, MODEL_FILE, Reasons, read_json, write_json
from baton.families.text import blend
from baton.families.text.cases import texts_of
from baton.families.text.features.encoder import Encoder, packaged_encoder, require
from baton.families.text.features.members import Member
from baton.families.text.features.terms import Terms, words
from baton.families.text.scope import Scope

FAMILY = "text"
SCOPE_FILE = "scope.skops"


@dataclass(frozen=True)
class Said:
    """What a model says of n texts.

    Attributes:
        probability: shape (n, classes), each row adds up to 1.
        strangeness: shape (n,), higher is less like the training's classes; None where nothing is rejected.
        accepted: shape (n,), False where the text is rejected.
    """

    probability: np.ndarray
    strangeness: np.ndarray | None
    accepted: np.ndarray


class FittedText:
    """Gives texts one of the classes that it has learnt, with a calibrated probability."""

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        classes: Sequence[str],
        members: Sequence[Member],
        weights: np.ndarray,
        scope: Scope | None,
        encoder: Encoder | None,
    ) -> None:
        """Take fitted parts.

        Args:
            columns: text columns; classes: names in the order of the scores' columns.
            weights: of the members, see `blend`.
            scope: None accepts every text.
            encoder: needed where a member sees vectors.
        """
        self.name, self.features, self.classes = name, list(columns), list(classes)
        self.members, self.weights, self.scope, self.encoder = list(members), np.asarray(weights), scope, encoder

    def predict(self, frame: pd.DataFrame) -> Said:
        """What the model says of the rows' texts."""
        texts = texts_of(frame, self.features)
        if not texts:
            return Said(np.empty((0, len(self.classes))), None, np.empty(0, dtype=bool))
        raw = [member.raw(texts, self.encoder) for member in self.members]
        found = blend.combine(raw, self.weights)
        probability = softmax(found, axis=1)
        if self.scope is None:
            return Said(probability, None, np.ones(len(texts), dtype=bool))
        vectors = None if self.encoder is None else self.encoder.encode(texts)
        strangeness = self.scope.strangeness(raw, found, texts, vectors)
        # nothing in it to judge by: numbers and signs, or no text at all
        strangeness[[not any(word.isalpha() for word in words(text)) for text in texts]] = np.inf
        return Said(probability, strangeness, strangeness <= self.scope.threshold)

    def explain(self, frame: pd.DataFrame, top: int = 3) -> list[Reasons]:
        """The `top` most probable classes of each row with their probabilities, best first."""
        return alternatives(self.classes, self.predict(frame).probability, top)

    def save(self, folder: Path) -> None:
        """Write model.json and plain arrays as skops files; the encoder is named by its hash, not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        members = [self._save_member(member, folder) for member in self.members]
        if self.scope is not None and self.scope.detector is not None:
            skops.io.dump(self.scope.arrays(), folder / SCOPE_FILE)
        document = {"format": FORMAT, "family": FAMILY, "name": self.name, "features": self.features}
        document |= {"classes": self.classes, "weights": self.weights.tolist(), "members": members}
        document["scope"] = None if self.scope is None else self.scope.to_json()
        document["encoder"] = None if self.encoder is None else self.encoder.sha256
        write_json(folder / MODEL_FILE, document)

    def _save_member(self, member: Member, folder: Path) -> dict[str, Any]:
        arrays = {"coefficients": member.coefficients, "intercept": member.intercept}
        arrays |= {f"weights_{n}": block.weights for n, block in enumerate(member.terms.blocks if member.terms else ())}
        if member.projection is not None:
            arrays["projection"] = member.projection
        file = f"{member.name}.skops"
        skops.io.dump(arrays, folder / file)
        terms = member.terms.to_json() if member.terms else None
        return {"name": member.name, "estimator": member.path, "vectors": member.vectors, "file": file, "terms": terms}


def load(folder: Path, encoder: Encoder | None = None) -> FittedText:
    """Restore a saved model; see `baton.families.load`.

    Args:
        encoder: the one to use; None opens the packaged one where the model needs it.

    Raises:
        ModelError: the encoder is not the one that the model was trained with, or a file holds more than arrays.
        SourceError: the packaged encoder was not fetched yet.
    """
    document = read_json(folder, FAMILY)
    if document["encoder"] is None:
        encoder = None
    else:
        encoder = require(encoder or packaged_encoder(), document["encoder"], f"model {document['name']!r} in {folder}")
    members = []
    for one in document["members"]:
        arrays = _arrays(folder, one["file"])
        terms = None
        if one["terms"] is not None:
            terms = Terms.from_json(one["terms"], [arrays[f"weights_{at}"] for at in range(len(one["terms"]))])
        linear = arrays["coefficients"], arrays["intercept"], arrays.get("projection")
        members.append(Member(one["name"], one["estimator"], terms, one["vectors"], *linear))
    scope = None if document["scope"] is None else _scope(document["scope"], folder)
    known = document["name"], document["features"], document["classes"]
    return FittedText(*known, members, np.asarray(document["weights"]), scope, encoder)


def _scope(document: dict[str, Any], folder: Path) -> Scope:
    return Scope.from_json(document, _arrays(folder, SCOPE_FILE) if document["kind"] == "combined" else {})


def alternatives(classes: Sequence[str], probability: np.ndarray, top: int = 3) -> list[Reasons]:
    """The most probable classes of each row, best first; equal ones in the classes' order."""
    order = np.argsort(-probability, axis=1, kind="stable")[:, :top]
    return [
        [(classes[at], float(value)) for at, value in zip(row, values, strict=True)]
        for row, values in zip(order, np.take_along_axis(probability, order, axis=1), strict=True)
    ]


def _arrays(folder: Path, file: str) -> dict[str, np.ndarray]:
    path = folder / file
    if Path(file).name != file or not path.is_file():
        raise ModelError(f"{folder}: model file {file!r} is missing or not a plain file name")
    if foreign := skops.io.get_untrusted_types(file=path):
        raise ModelError(f"{path} holds types that are not trusted: {', '.join(foreign)}; it was not opened")
    arrays: dict[str, np.ndarray] = skops.io.load(path)
    if not isinstance(arrays, dict) or not all(isinstance(value, np.ndarray) for value in arrays.values()):
        raise ModelError(f"{path} holds more than plain arrays; it is not used")
    return arrays
