"""The text family: what training, gate and monitoring ask of it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from baton.data.partitions import HOUR
from baton.errors import ModelError
from baton.families.base import (
    REFITTED,
    Description,
    Evidence,
    Json,
    Leaderboard,
    Tried,
    Watchable,
    Watched,
    parts_of,
    unseen,
)
from baton.families.text import judging, measures, ranking, strangers, watching
from baton.families.text.cases import Cases, seen, split, texts_of
from baton.families.text.features import members
from baton.families.text.features.encoder import Encoder, Prepared, key_of, packaged_encoder
from baton.families.text.features.terms import MAX_LETTERS
from baton.families.text.model import FAMILY, FittedText, alternatives, load
from baton.families.verdict import GateVerdict
from baton.specs.text import TextCandidateSpec, TextSpec

EXAMPLE = "This sentence stands for a text."  # nobody's


class Text:
    """Linear models on terms and sentence vectors, blends of them, and a threshold for `none of these classes`."""

    name = FAMILY
    truth: Literal["labels", "rows"] = "labels"
    row_local = True

    def __init__(self, encoder: Encoder | None = None) -> None:
        """Take the sentence encoder; None opens the packaged one where a model needs it."""
        self._encoder = encoder

    def prepare(self, spec: TextSpec, frame: pd.DataFrame) -> pd.DataFrame:
        """The texts' vectors: entity_key, text (its key), encoder, vector_0 ..; one row per row of `frame`."""
        encoder, texts = self._encoder or packaged_encoder(), texts_of(frame, spec.data.text)
        vectors = pd.DataFrame(encoder.encode(texts), columns=[f"vector_{at}" for at in range(encoder.size)])
        told = {"entity_key": self.keys(spec, frame).to_numpy(), "text": [key_of(text).hex() for text in texts]}
        return pd.concat([pd.DataFrame({**told, "encoder": encoder.sha256}), vectors], axis=1)

    def prepared(self, found: pd.DataFrame) -> "Text":
        """The family with the vectors that `prepare` made."""
        if found.empty:
            return self
        keys, vectors = [bytes.fromhex(key) for key in found["text"]], found.filter(regex=r"^vector_\d+$")
        return Text(Prepared(found["encoder"].iloc[0], keys, vectors.to_numpy(dtype=np.float32), self._encoder))

    def validate(
        self, spec: TextSpec, candidate: TextCandidateSpec, frame: pd.DataFrame
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Judge one estimator on stratified folds; see `ranking.out_of_fold`."""
        if candidate.ensemble is not None:
            raise ModelError(f"candidate {candidate.name!r}: an ensemble is judged from its parts, see `rank`")
        return ranking.out_of_fold(spec, candidate, split(spec, frame), self._opened([candidate]))

    def rank(self, spec: TextSpec, frame: pd.DataFrame, found: Tried) -> Leaderboard:
        """Rank all candidates by their out-of-fold scores; see `ranking.rank`."""
        return ranking.rank(spec, split(spec, frame), found)

    def fit(self, spec: TextSpec, frame: pd.DataFrame, board: Leaderboard, found: Tried) -> FittedText:
        """The winner on the training part, blended by out-of-fold scores; what it rejects is corrected on held-out texts."""
        cases = split(spec, frame)
        winner = next(one for one in spec.candidates if one.name == board.best)
        parts = parts_of(spec.candidates, winner)
        encoder = self._opened(parts)
        _, weights, _ = ranking.blended(spec, winner, cases, found)
        scope = strangers.fit(spec, parts, weights, cases, found, encoder)
        fitted = [
            members.fit(
                part, cases.texts, cases.y, cases.weights, len(cases.classes), spec.training.seed, encoder, cases.names
            )
            for part in parts
        ]
        model = FittedText(winner.name, spec.data.text, cases.classes, fitted, weights, scope, encoder)
        if scope is not None:
            known = cases.holdout[np.isin(self._truth(spec, cases.holdout), cases.classes)]
            strangeness = model.predict(known).strangeness
            model.scope = scope if strangeness is None else scope.corrected(strangeness)
        return model

    def published(
        self, spec: TextSpec, frame: pd.DataFrame, board: Leaderboard, found: Tried, judged: FittedText
    ) -> FittedText | None:
        """The members on all texts of the classes that are learnt; blend and reject line stay; see `Family.published`."""
        cases = split(spec, frame)
        late = cases.holdout[cases.holdout[spec.data.target].astype(str).isin(cases.classes)]
        if not spec.training.refit or late.empty:
            return None
        texts = [*cases.texts, *texts_of(late, spec.data.text)]
        y = np.append(
            cases.y, np.searchsorted(cases.classes, late[spec.data.target].astype(str).to_numpy().astype(str))
        )
        weights, seed = np.append(cases.weights, late["_weight"].to_numpy(dtype=float)), spec.training.seed
        parts = parts_of(spec.candidates, next(one for one in spec.candidates if one.name == board.best))
        encoder = self._opened(parts)
        fitted = [members.fit(one, texts, y, weights, len(cases.classes), seed, encoder, cases.names) for one in parts]
        known = judged.name, judged.features, judged.classes
        return FittedText(*known, fitted, judged.weights, judged.scope, encoder or judged.encoder)

    def evaluate(self, spec: TextSpec, fitted: FittedText, frame: pd.DataFrame) -> dict[str, float]:
        """accuracy, macro_f1, rejected (share of held-out texts), accuracy_accepted (of those that are not rejected).

        Where the spec rejects: what was promised of that and what was seen, see `Scope.figures`.
        """
        holdout = split(spec, frame).holdout
        if holdout.empty:
            return {}
        truth, said = self._truth(spec, holdout), fitted.predict(holdout)
        best = self._best(fitted, said.probability)
        found = {metric: measures.value(metric, truth, best) for metric in measures.NAMES}
        found["rejected"] = float(1 - said.accepted.mean())
        if said.accepted.any():
            found["accuracy_accepted"] = float((truth == best)[said.accepted].mean())
        return found if fitted.scope is None else found | dict(fitted.scope.figures)

    def evidence(self, spec: TextSpec, fitted: FittedText, frame: pd.DataFrame) -> Evidence:
        """Held-out texts and their most probable class."""
        holdout = split(spec, frame).holdout
        if holdout.empty:
            return Evidence()
        probability = fitted.predict(holdout).probability
        said = {"truth": self._truth(spec, holdout), "said": self._best(fitted, probability)}
        return Evidence(pd.DataFrame({**said, "probability": probability.max(axis=1)}))

    def seen(self, spec: TextSpec, frame: pd.DataFrame, learnt_from: pd.DataFrame) -> np.ndarray:
        """See `cases.seen`."""
        return seen(spec, frame, learnt_from)

    def judge(
        self, spec: TextSpec, frame: pd.DataFrame, champion: FittedText | None, challenger: FittedText
    ) -> GateVerdict:
        """Judge on the texts held out when the challenger was trained, but for those that the champion knows."""
        holdout, notes = unseen(split(spec, frame).holdout)
        if holdout.empty:
            nothing = np.empty(0, dtype=object)
            return judging.judge(spec, nothing, nothing, nothing, notes=notes)
        truth = self._truth(spec, holdout)
        models = {"challenger": challenger} | ({} if champion is None else {"champion": champion})
        said = {name: model.predict(holdout) for name, model in models.items()}
        best = {name: self._best(model, said[name].probability) for name, model in models.items()}
        broken = int((~np.isfinite(said["challenger"].probability)).any(axis=1).sum())
        rejected = {
            name: np.where(np.isin(truth, model.classes), ~said[name].accepted, np.nan)
            for name, model in models.items()
        }
        return judging.judge(spec, truth, best.get("champion"), best["challenger"], broken, rejected, notes)

    def score(self, spec: TextSpec, fitted: FittedText, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        """The text-scored frame: entity_key, category, score, accepted, strangeness, reasons, `_row`.

        One row per row of `data`. Strangeness is null where nothing is rejected, and for a text without a word.

        Reasons are the three most probable classes of every row, whatever `explain` says: they cost nothing, and people
        want them where the score is low.
        """
        said = fitted.predict(data)
        found = alternatives(fitted.classes, said.probability)
        return pd.DataFrame({
            "entity_key": self.keys(spec, data).to_numpy(),
            "category": pd.Series([one[0][0] for one in found], dtype=object),
            "score": said.probability.max(axis=1, initial=0.0),
            "accepted": said.accepted,
            "strangeness": np.nan if said.strangeness is None else np.where(np.isfinite(said.strangeness), said.strangeness, np.nan),
            "reasons": pd.Series([json.dumps([[label, round(p, 4)] for label, p in one]) for one in found], dtype=object),
            "_row": data["_row"].to_numpy(),
        })  # fmt: skip

    def columns(self, spec: TextSpec, fitted: FittedText) -> list[str]:
        """What it has learnt from, and the entity."""
        return list(dict.fromkeys([*fitted.features, spec.data.entity, "_row"]))

    def keys(self, spec: TextSpec, data: pd.DataFrame) -> pd.Series:
        """The entity."""
        return data[spec.data.entity].astype(str)

    def reference(
        self, spec: TextSpec, fitted: FittedText, frame: pd.DataFrame, metrics: dict[str, float], step: timedelta = HOUR
    ) -> dict[str, Any]:
        """See `watching.reference`."""
        return {**watching.reference(spec, fitted, frame, self._encoder, step), "metrics": metrics}

    def watch(self, spec: TextSpec, reference: Json, window: Watchable) -> Watched:
        """See `watching.watch`; what counts for a retraining are texts whose class is known."""
        return Watched(*watching.watch(spec, reference, window, self._encoder))

    def describe(self, spec: TextSpec, frame: pd.DataFrame) -> Description:
        """Texts per class, and which classes are not learnt."""
        cases = split(spec, frame)
        return Description(
            {"texts": len(cases.y), "classes": len(cases.classes), "texts per class": _per_class(cases),
             "held out": len(cases.holdout)},
            f"Gives each {spec.data.entity} one of {len(cases.classes)} classes with its probability, and says whether to "
            "rely on it.",
            _limits(spec, cases),
        )  # fmt: skip

    def example(self, spec: TextSpec, fitted: FittedText, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """A made-up sentence in every text column, and what is said of it."""
        example = pd.DataFrame({name: [EXAMPLE] for name in fitted.features})
        said = fitted.predict(example)
        output = {"category": self._best(fitted, said.probability), "score": said.probability.max(axis=1)}
        return example, pd.DataFrame({**output, "accepted": said.accepted})

    def load(self, folder: Path) -> FittedText:
        """See `baton.families.load`."""
        return load(folder, self._encoder)

    def _opened(self, parts: list[TextCandidateSpec]) -> Encoder | None:
        """The encoder, if one of the parts needs it."""
        if all(part.features == "tfidf" for part in parts):
            return None
        return self._encoder or packaged_encoder()

    def _truth(self, spec: TextSpec, rows: pd.DataFrame) -> np.ndarray:
        return rows[spec.data.target].astype(str).to_numpy(dtype=object)

    def _best(self, fitted: FittedText, probability: np.ndarray) -> np.ndarray:
        return np.array(fitted.classes, dtype=object)[probability.argmax(axis=1)]


def _per_class(cases: Cases) -> str:
    counts = np.bincount(cases.y, minlength=len(cases.classes))
    return ", ".join(f"{name} {count}" for name, count in zip(cases.classes, counts, strict=True))


def _limits(spec: TextSpec, cases: Cases) -> list[str]:
    limits = [
        "Judged on the most recent part of its data only; the drift monitor says when that is past.",
        f"Of a text it reads at most the first {MAX_LETTERS:,} characters.",
        "It knows the classes named above and no others; a text of another kind gets one of them or is rejected.",
        "Of its training texts it holds weighted terms that several distinct texts share, without numbers, addresses and "
        "the names on record, how often each class uses them, and means and main directions over many texts.",
    ]
    if spec.training.refit:
        limits.append(REFITTED)
    if cases.left_out:
        listed = ", ".join(f"{name} ({count})" for name, count in cases.left_out.items())
        limits.append(f"Not learnt for want of texts (fewer than {spec.training.min_per_class}): {listed}.")
    if cases.repeated:
        limits.append(f"Not trained on, because the same text is held out: {cases.repeated} texts.")
    if spec.reject is None:
        limits.append("It accepts every text, however far it lies from what it has learnt.")
    return limits
