"""The spec of a text model: one of several classes for a short text or a document, and when to say none of them."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from baton.specs.base import Column, InnerShare, Name, Seq, Share, Spec
from baton.specs.model import Candidate, ModelSpec, NamedColumn, TrainingSpec, check_candidates, estimator_of
from baton.specs.policy import DriftPolicy, GatePolicy

TextMetric = Literal["accuracy", "macro_f1"]
Grams = Seq[int]
ENCODER = ("minilm.onnx", "minilm-tokenizer.json")  # see `baton.packs.packaged`


class TextDataSpec(Spec):
    """Which columns play which part; a row is one text."""

    entity: Column = Field(description="key of a text, for example message_id")
    time: Column = Field(description="when it came; the most recent texts are held back")
    text: Seq[Column] = Field(min_length=1, description="columns that are read as one text, joined by a line break")
    target: Column = Field(description="class of the text, a name")
    names: Seq[Column] = Field(
        default=(), description="columns with names of people on record: no term that a version keeps holds one"
    )

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that name a row."""
        return (self.entity,)


class TextTrainingSpec(TrainingSpec):
    """What a version is trained on, and what is kept back to judge it."""

    holdout: InnerShare = Field(default=0.25, description="share of the history kept back, the most recent by time")
    recent_holdout: InnerShare = Field(
        default=0.4, description="share of recent labelled texts kept back, chosen by a hash of the entity"
    )
    recent_weight: float = Field(default=1.0, gt=0.0, description="weight of a recent text; one of the history has 1")
    refit: bool = Field(
        default=False,
        description="the published model learns from what was held out too, after the same one without it was judged by it",
    )
    min_per_class: int = Field(
        default=8, ge=2, description="a class with fewer training texts is not learnt, and the model card says so"
    )


class KernelSpec(Spec):
    """A Gaussian kernel on the encoder's vectors, by random Fourier features: a linear model bends at linear cost."""

    components: int = Field(default=2048, ge=64, le=16_384, multiple_of=2, description="number of random features")
    gamma: float = Field(default=1.0, gt=0.0, description="kernel exp(-gamma * squared distance)")


class TextCandidateSpec(Candidate):
    """One model that training tries: an estimator on features of the text, or a blend of earlier candidates."""

    estimator: str | None = estimator_of("text")
    ensemble: Seq[Name] | None = Field(
        default=None,
        min_length=2,
        description="earlier candidates; their log-probabilities are added with weights learnt out of fold",
    )
    features: Literal["tfidf", "embeddings", "both"] = Field(
        default="tfidf", description="weighted words and letters, the sentence encoder's vector, or both side by side"
    )
    words: Grams | None = Field(default=(1, 2), description="tfidf: shortest and longest run of words; null: none")
    letters: Grams | None = Field(default=None, description="tfidf: shortest, longest run within a word; null: none")
    min_texts: int = Field(default=2, ge=2, description="tfidf: a term of fewer distinct texts goes; keeps names out")
    max_terms: int = Field(default=50_000, ge=10, description="tfidf: so many terms of each kind, those in most texts")
    kernel: KernelSpec | None = Field(
        default=None, description="embeddings: see the vector through a kernel; null: the vector itself"
    )
    seed: int | None = Field(default=None, ge=0, description="null: the training's seed")

    @field_validator("words", "letters")
    @classmethod
    def _rising(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and not (len(value) == 2 and 1 <= value[0] <= value[1] <= 8):
            raise ValueError("two lengths from 1 to 8, the shorter first, for example [1, 2]")
        return value

    @model_validator(mode="after")
    def _something_to_see(self) -> Self:
        if self.features != "embeddings" and self.words is None and self.letters is None:
            raise ValueError("words: give words, letters or both, else no term is left")
        if self.kernel is not None and self.features == "tfidf":
            raise ValueError("kernel: only for features embeddings or both")
        return self


class RejectSpec(Spec):
    """When the model says `none of my classes, or not sure`."""

    max_false_rejects: InnerShare = Field(
        default=0.04,
        description="largest share of texts of a known class that is rejected; the line is drawn on the held-out ones",
    )
    scope: Literal["confidence", "energy", "combined"] = Field(
        default="confidence",
        description="how strange a text is: confidence, by the best class's probability; energy, by how little any class "
        "claims it; combined, by these and more, weighed by leaving classes out (six more fits)",
    )


class TextValidationSpec(Spec):
    """How candidates are compared inside the training part."""

    folds: int = Field(default=4, ge=2, le=20, description="stratified by class, by the seed; equal texts share a fold")
    metric: Literal["accuracy", "macro_f1", "log_loss"] = Field(
        default="accuracy", description="the leaderboard is sorted by it, best first"
    )


class TextGateSpec(GatePolicy):
    """When a challenger may replace the champion."""

    metric: TextMetric = Field(default="accuracy", description="champion and challenger are compared in it")
    min_cases: int = Field(default=50, ge=2, description="fewer held-out texts: MORE_DATA")
    floor: Share = Field(default=0.5, description="the challenger's metric must reach it, champion or not")
    class_cases: int = Field(default=20, ge=2, description="a class with so many held-out texts is looked at by itself")
    class_floor: Share = Field(default=0.1, description="largest loss of recall that is tolerated in such a class")


class AccuracySpec(Spec):
    """Drift of the result itself, seen when the true classes are known."""

    metric: Literal["accuracy"] = Field(
        default="accuracy", description="share of texts whose best class is the true one"
    )
    max_drop: float = Field(default=0.1, gt=0.0, le=1.0, description="largest fall against the holdout's value")
    min_cases: int = Field(default=50, ge=2, description="fewer texts with a known class: not judged")


class TextDriftSpec(DriftPolicy):
    """When the model is retrained, and when not."""

    min_rows: int = Field(default=200, ge=1, description="a window with fewer texts is not judged")
    p_value: float = Field(default=0.001, gt=0.0, lt=1.0, description="the test of one signal must fall below it")
    effect: float = Field(default=0.25, gt=0.0, description="and its effect size reach this, however many the texts")
    fdr: float = Field(default=0.01, gt=0.0, lt=1.0, description="false discovery rate over the signals")
    embeddings: bool = Field(
        default=False,
        description="also watch what texts are about, by the sentence encoder's vectors, whichever candidate won",
    )
    performance: AccuracySpec | None = Field(default=None, description="null: texts and what is said of them only")
    min_labelled: int = Field(
        default=50, ge=0, description="texts with a known class since the drift began that a retraining needs"
    )

    @property
    def needed(self) -> tuple[int, str]:
        """Texts with a known class."""
        return self.min_labelled, "labelled texts"


class TextSpec(ModelSpec):
    """The whole life of a model that gives texts a class."""

    family: Literal["text"] = Field(description="what kind of model it is")
    data: TextDataSpec = Field(description="which columns play which part")
    training: TextTrainingSpec = Field(description="what it learns from")
    candidates: Seq[TextCandidateSpec] = Field(min_length=1, description="what training tries; the best is registered")
    validation: TextValidationSpec = Field(default_factory=TextValidationSpec, description="comparing candidates")
    reject: RejectSpec | None = Field(
        default=None, description="when it gives no class for sure; null: all are accepted"
    )
    gate: TextGateSpec = Field(default_factory=TextGateSpec, description="when a challenger may replace the champion")
    drift: TextDriftSpec | None = Field(default=None, description="when it is retrained; null: never by itself")

    @property
    def needed_files(self) -> tuple[str, ...]:
        """The sentence encoder's, where a candidate or the monitor looks at what texts mean."""
        watched = self.drift is not None and self.drift.embeddings
        return ENCODER if watched or any(one.estimator and one.features != "tfidf" for one in self.candidates) else ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_candidates(self)
        if self.data.target in self.data.text:
            raise ValueError(f"data.text: `{self.data.target}` is the target itself")
        if self.training.min_per_class < self.validation.folds:
            raise ValueError("training.min_per_class: at least validation.folds, else a fold lacks a class")
        return self

    def needs_prepared(self, candidate: Candidate) -> bool:
        """Those that see the sentence encoder's vectors: the texts are encoded once for all of them."""
        return isinstance(candidate, TextCandidateSpec) and candidate.features != "tfidf"

    def named_columns(self, *, training: bool) -> list[NamedColumn]:
        """Text columns hold texts; the class comes with training rows only."""
        data = self.data
        named: list[NamedColumn] = [
            (("data", "entity"), data.entity, ("int", "str")),
            (("data", "time"), data.time, ("timestamp",)),
        ]
        named += [(("data", "text", position), column, ("str",)) for position, column in enumerate(data.text)]
        if training:
            named.append((("data", "target"), data.target, ("str",)))
        return named
