"""Strangers: what texts of unknown classes look like, learned by leaving known classes out.

The classes are dealt into groups, and so are the texts. For each group of classes the model's parts are fitted without
them, and without one group of the other texts; what they then say of the classes left out is how unknown classes look, what
they say of the texts set aside is how known ones look. A logistic model tells the two apart, looking hardest near the line.
Leaving out groups, not single classes, takes away some of the nearest neighbours as well, as a class that nobody thought of
has no sister among the known ones.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from baton.errors import ModelError
from baton.families.base import Tried
from baton.families.text import blend
from baton.families.text.cases import Cases
from baton.families.text.features import members
from baton.families.text.features.encoder import Encoder
from baton.families.text.features.traits import World
from baton.families.text.scope import Scope, StrangerDetector, simple
from baton.specs.text import TextCandidateSpec, TextSpec

GROUPS = 6
ROUNDS = 4  # of looking for the line and weighing anew
NEAR = 1.5  # log-odds from the line at which a text's weight has fallen to 0.6
FAR = 0.05  # least weight of a text


def fit(
    spec: TextSpec,
    parts: list[TextCandidateSpec],
    weights: np.ndarray,
    cases: Cases,
    found: Tried,
    encoder: Encoder | None,
) -> Scope | None:
    """Draw the line for a blend of `parts` with `weights`; None where the spec rejects nothing.

    Args:
        found: the parts' out-of-fold scores, see `ranking.out_of_fold`.

    Raises:
        ModelError: too few classes to leave some out.
    """
    if spec.reject is None:
        return None
    raw = [found[part.name].filter(regex=r"^raw_\d+$").to_numpy() for part in parts]
    scores = blend.combine(raw, weights)
    kind, share = spec.reject.scope, spec.reject.max_false_rejects
    if kind != "combined":
        return Scope.draw(kind, simple(kind, scores), share)
    if len(cases.classes) < 2 * GROUPS:
        raise ModelError(
            f"model {spec.model}: reject.scope combined leaves classes out, {len(cases.classes)} classes are too few for "
            f"that (at least {2 * GROUPS}); use confidence or energy"
        )
    vectors = None if encoder is None else encoder.encode(cases.texts)
    known, unknown = _left_out(spec, parts, weights, cases, vectors, encoder)
    world = World.fit(cases.texts, cases.y, len(cases.classes), vectors, cases.names)
    detector = _detector(world, known, unknown, share)
    fold = found[parts[0].name]["fold"].to_numpy()
    strange = np.empty(len(cases.y))
    for one in np.unique(fold):
        learn, judge = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        strange[judge] = detector(_traits(cases, cases.y, len(cases.classes), vectors, learn, judge, raw, scores))
    return Scope.draw(kind, strange, share, detector)


def _detector(world: World, known: np.ndarray, unknown: np.ndarray, share: float) -> StrangerDetector:
    """A logistic model of traits, shape (n, traits), of known and of unknown classes.

    Only the order of texts near the line matters to what is rejected, so its likelihood is weighted by how near a text is to
    the line that rejects `share` of the known ones; known and unknown weigh the same in sum.
    """
    traits = np.concatenate([known, unknown])
    centre, scale = traits.mean(axis=0), np.maximum(traits.std(axis=0), 1e-9)
    inputs, is_unknown = (traits - centre) / scale, np.repeat([0, 1], [len(known), len(unknown)])
    weights = np.ones(len(traits))
    for _ in range(ROUNDS):
        weights[: len(known)] *= weights[len(known) :].sum() / weights[: len(known)].sum()
        told = LogisticRegression(max_iter=2000).fit(inputs, is_unknown, sample_weight=weights)
        odds = told.decision_function(inputs)
        line = np.quantile(odds[: len(known)], 1 - share)
        weights = np.exp(-(((odds - line) / NEAR) ** 2) / 2) + FAR
    return StrangerDetector(world, centre, scale, told.coef_[0], float(told.intercept_[0]))


def _left_out(
    spec: TextSpec, parts: list[TextCandidateSpec], weights: np.ndarray, cases: Cases, vectors: np.ndarray | None,
    encoder: Encoder | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Traits of texts of known and of left-out classes."""
    rng = np.random.default_rng(spec.training.seed)
    group = rng.permutation(len(cases.classes)) % GROUPS
    turn = rng.permutation(len(cases.y)) % GROUPS
    known, unknown = [], []
    for one in range(GROUPS):
        inside, aside = group[cases.y] != one, turn == one
        place = np.cumsum(group != one) - 1  # number of a class among those that stay
        learn = np.flatnonzero(inside & ~aside)
        judge = np.concatenate([np.flatnonzero(inside & aside), np.flatnonzero(~inside)])
        y, classes = place[cases.y], int((group != one).sum())
        texts = [cases.texts[at] for at in judge]
        raw = [_raw(part, cases, learn, y, classes, texts, spec.training.seed, encoder) for part in parts]
        wide = [_spread(one_raw, judge, len(cases.y)) for one_raw in raw]
        made = _traits(cases, y, classes, vectors, learn, judge, wide, blend.combine(wide, weights))
        split = int((inside & aside).sum())
        known.append(made[:split])
        unknown.append(made[split:])
    return np.concatenate(known), np.concatenate(unknown)


def _raw(
    part: TextCandidateSpec, cases: Cases, learn: np.ndarray, y: np.ndarray, classes: int, texts: list[str], seed: int,
    encoder: Encoder | None,
) -> np.ndarray:  # fmt: skip
    mine = [cases.texts[at] for at in learn]
    return members.fit(part, mine, y[learn], cases.weights[learn], classes, seed, encoder, cases.names).raw(
        texts, encoder
    )


def _spread(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    wide = np.zeros((count, values.shape[1]))
    wide[rows] = values
    return wide


def _traits(
    cases: Cases, y: np.ndarray, classes: int, vectors: np.ndarray | None, learn: np.ndarray, judge: np.ndarray,
    raw: list[np.ndarray], scores: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Traits of the texts `judge`, measured against the texts `learn`; raw and scores have a row for every text."""
    texts = np.array(cases.texts, dtype=object)
    world = World.fit(list(texts[learn]), y[learn], classes, None if vectors is None else vectors[learn], cases.names)
    mine = None if vectors is None else vectors[judge]
    return world.traits([one[judge] for one in raw], scores[judge], list(texts[judge]), mine)
