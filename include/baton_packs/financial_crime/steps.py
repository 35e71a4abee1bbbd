"""Pure functions of the financial-crime flows: frames and plain parameters in, frames out."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton.stages.step import row_local

CLEAR, REVIEW, BLOCK = "clear", "review", "block"


_SCORE = ("entity_key", "score", "reasons")


@row_local(
    transactions=("transaction_id", "event_time", "amount", "_row"), card_fraud=_SCORE, transaction_anomaly=_SCORE
)
def combine(
    transactions: pd.DataFrame,
    card_fraud: pd.DataFrame,
    transaction_anomaly: pd.DataFrame,
    *,
    review_cost: float = 5.0,
    false_block_cost: float = 25.0,
    card_exposure: float = 100.0,
    block_probability: float = 0.9,
    strange: float = 0.9995,
    strange_amount: float = 100.0,
) -> pd.DataFrame:
    """Decide on each transaction: clear it, have a person review it, or block it.

    The cheapest of three answers is taken, in expectation, with p the calibrated probability of fraud and
    `exposure = max(amount, card_exposure)` what a clear would put at risk. A stolen card is first tried with cents
    (a third of the frauds in the ULB data are of at most one euro), so a small amount does not make a stolen card cheap.

        clear   p * exposure
        review  review_cost
        block   (1 - p) * false_block_cost, only if p >= block_probability

    Equal prices go to the more careful answer. Beyond that, a transaction that is stranger than the share
    `strange` of what the anomaly model knows, with at least `strange_amount` at stake, is reviewed even if the
    supervised model sees nothing: a new pattern has no labels yet.

    Args:
        transactions: one row each; columns transaction_id, event_time, amount (currency units, not negative).
        card_fraud, transaction_anomaly: one row for each transaction; columns entity_key, score (0..1), reasons (JSON
            list of [feature, contribution], or null).
        review_cost: of an analyst looking once, currency units.
        false_block_cost: of blocking an honest customer, currency units.
        card_exposure: least that a stolen card is worth to a thief, currency units.
        block_probability: probability below which nothing is blocked, whatever it costs.
        strange: anomaly quantile from which a transaction counts as strange.
        strange_amount: amount from which strangeness alone is worth a review, currency units.

    Returns:
        one row for each transaction, in their order: entity_key (str), risk (0..1, the probability; for a
        review for strangeness alone at least the price of a review over the exposure), route (clear | review |
        block), money (expected loss if cleared, currency units), amount, title (what an analyst calls it: amount and
        time, UTC; none where it is cleared), reasons (JSON list of texts), `_row` where the transactions have it.

    Raises:
        BatonError: keys are not unique or do not fit, a score is outside 0..1, an amount is missing or negative, or a
            parameter is out of range.
    """
    _check_parameters(review_cost, false_block_cost, card_exposure, block_probability, strange)
    keys, amount = _checked(transactions)
    fraud = _aligned(card_fraud, keys, "card_fraud")
    anomaly = _aligned(transaction_anomaly, keys, "transaction_anomaly")
    p, quantile = fraud["score"].to_numpy(dtype=float), anomaly["score"].to_numpy(dtype=float)

    exposure = np.maximum(amount, card_exposure)
    expected = p * exposure
    blocking = np.where(p >= block_probability, (1 - p) * false_block_cost, np.inf)
    is_strange = (quantile >= strange) & (amount >= strange_amount)
    block = (blocking <= review_cost) & (blocking <= expected)
    likely = ~block & (expected >= review_cost)
    review = likely | (~block & is_strange)
    route = np.select([block, review], [BLOCK, REVIEW], CLEAR)
    risk = np.where(is_strange, np.maximum(p, np.minimum(1.0, review_cost / exposure)), p)
    columns: dict[str, Any] = {"entity_key": keys, "risk": risk, "route": route, "money": expected, "amount": amount}
    shown = np.flatnonzero(route != CLEAR)  # few: words for all would cost more than the decisions
    said = (
        route,
        likely,
        is_strange,
        p,
        expected,
        quantile,
        fraud["reasons"].to_numpy(),
        anomaly["reasons"].to_numpy(),
    )
    columns["title"] = _words(len(keys), shown, map(_title, amount[shown], transactions["event_time"].iloc[shown]))
    columns["reasons"] = _words(len(keys), shown, map(_reasons, *(cells[shown] for cells in said)))
    columns |= {"_row": transactions["_row"]} if "_row" in transactions.columns else {}
    return pd.DataFrame({name: np.asarray(cells) for name, cells in columns.items()})


def _check_parameters(
    review_cost: float, false_block_cost: float, card_exposure: float, block_probability: float, strange: float
) -> None:
    money = {"review_cost": review_cost, "false_block_cost": false_block_cost, "card_exposure": card_exposure}
    shares = {"block_probability": block_probability, "strange": strange}
    wrong = [f"{name}={value} must be above 0" for name, value in money.items() if not value > 0]
    wrong += [f"{name}={value} must lie in 0..1" for name, value in shares.items() if not 0 <= value <= 1]
    if wrong:
        raise BatonError(f"combine: {'; '.join(wrong)}")


def _checked(transactions: pd.DataFrame) -> tuple[pd.Series, np.ndarray]:
    """Keys and amounts of the transactions."""
    keys = transactions["transaction_id"].astype(str)
    if keys.duplicated().any():
        raise BatonError(f"transactions: transaction_id {keys[keys.duplicated()].iloc[0]!r} occurs more than once")
    amount = transactions["amount"].to_numpy(dtype=float)
    if len(wrong := keys[~(np.isfinite(amount) & (amount >= 0))]):
        what = f"transactions: amount of transaction {wrong.iloc[0]!r}"
        raise BatonError(f"{what} is missing or negative; quarantine it first")
    return keys, amount


def _aligned(scores: pd.DataFrame, keys: pd.Series, name: str) -> pd.DataFrame:
    """The scores in the order of the transactions, exactly one for each."""
    indexed = scores.assign(entity_key=scores["entity_key"].astype(str)).set_index("entity_key")
    if indexed.index.has_duplicates:
        twice = indexed.index[indexed.index.duplicated()][0]
        raise BatonError(f"{name}: transaction {twice!r} has more than one score")
    if not np.array_equal(indexed.index.to_numpy(), keys.to_numpy()):  # the flow hands them on in one order
        missing, foreign = keys[~keys.isin(indexed.index)], indexed.index[~indexed.index.isin(keys)]
        if len(missing) or len(foreign):
            example = missing.iloc[0] if len(missing) else foreign[0]
            raise BatonError(
                f"{name}: {len(missing)} transactions have no score and {len(foreign)} scores no transaction, e.g. "
                f"{example!r}; both must come from the same committed dataset"
            )
        indexed = indexed.loc[keys]
    values = indexed["score"].to_numpy(dtype=float)
    if len(wrong := indexed.index[~((values >= 0) & (values <= 1))]):  # a NaN fails both comparisons
        raise BatonError(f"{name}: the score of transaction {wrong[0]!r} is not in 0..1")
    return indexed


def _words(count: int, shown: np.ndarray, texts: Iterable[str]) -> np.ndarray:
    made: np.ndarray = np.full(count, None, dtype=object)
    made[shown] = list(texts)
    return made


def _title(amount: float, at: pd.Timestamp) -> str:
    return f"{amount:,.2f} euros, {at.day} {at:%b %H:%M}"


def _reasons(
    route: str, likely: bool, strange: bool, p: float, loss: float, quantile: float, fraud: object, anomaly: object
) -> str:
    """Plain sentences for an analyst, as JSON."""
    texts = []
    if route == BLOCK or likely:
        texts.append(f"Probability of fraud {p:.1%}, expected loss {loss:.2f}{_named(fraud, 'driven by')}")
    if strange:
        farthest = _named(anomaly, "farthest from usual:")
        texts.append(f"Stranger than {min(quantile, 0.99999):.3%} of known transactions{farthest}")
    return json.dumps(texts)


def _named(codes: object, words: str) -> str:
    if not isinstance(codes, str):
        return ""
    names = [str(feature) for feature, value in json.loads(codes) if value > 0]
    return f"; {words} {', '.join(names)}" if names else ""
