"""Simulated additions to two recorded days of a bank: bad deliveries, a changed world, late truth, people.

Everything is seeded and comes with its ground truth. Functions take and return frames; `deliver` and
`deliver_text` write them where the pack's source `transactions` looks for deliveries.

**The shift.** The features v1..v28 are principal components that the card network computes upstream. It
refits them: an eigenvector's sign is arbitrary, so five of them (v4, v10, v12, v14, v17) come back with the
opposite sign, and the new centring moves each by one of its old standard deviations. What marks fraud is
still in the data, but at another place. Average precision of a boosting / a random forest, fitted
on hours 0-32:

    ===================================  =============  ===============
    fitted; judged on                    as recorded    after the refit
    ===================================  =============  ===============
    on hours 0-32; hours 37-42           0.85 / 0.86    0.00 / 0.06
    on hours 0-32; hours 43-47           0.71 / 0.71    0.00 / 0.02
    again; held-out rows of hours 37-42                 0.82 / 0.80
    again; hours 43-47                                  0.70 / 0.68
    ===================================  =============  ===============

Again: on hours 0-32 and, with weight 5, 60 % of the shifted rows of hours 37-42 (44 frauds).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import BatonError

REFIT = {"v4": 1.37, "v10": 1.10, "v12": 1.15, "v14": 0.98, "v17": 0.92}
"""Components that change sign, and by how much they move then: their standard deviation in hours 0-32."""

UNKNOWN_COLUMN = "terminal_type"
MISSED, FALSE_ALARM = 0.05, 0.02  # an analyst clears a fraud, confirms a legitimate transaction

SAID = (
    "simulated, seeded: one hour with planted bad rows, one hour in cents, the refit of the components "
    f"{', '.join(REFIT)}, the time at which labels arrive, and analysts' decisions on cases "
    f"({MISSED:.0%} of frauds cleared, {FALSE_ALARM:.0%} of legitimate ones confirmed)"
)

# column, what a sloppy export writes there; {} is the right text
_WRONG_TYPES = (
    ("amount", "{} EUR"),
    ("v3", "n/a"),
    ("event_time", "yesterday"),
    ("transaction_id", "TX-{}"),
    ("v11", "1.2.3"),
    ("seconds", "{} s"),
)


def bad_rows(frame: pd.DataFrame, seed: int, *, unknown_column: bool = True) -> tuple[str, pd.DataFrame]:
    """One hour as a CSV delivery with planted violations.

    Args:
        frame: valid rows of one hour, at least 50 with an amount above 0: transaction_id, event_time (UTC),
            seconds, v1..v28, amount.
        seed: chooses the rows.
        unknown_column: add a column that the contract does not know.

    Returns:
        the text, and the ground truth with one row per violating row of the delivery:
        `_row` (from 1, without the header), `kind`, `rules` (tuple of the contract's rule names), `column`,
        `planted` (the text in the cell), `repair` (dict column -> right text; None: the row cannot be told
        apart from another one and is to be discarded).

    Planted: 6 cells of a wrong type, 4 negative amounts, 4 missing keys, 1 row with both, 4 keys overwritten
    with another row's (both rows violate; the other row's repair is its own key), 3 rows delivered twice.

    Raises:
        BatonError: fewer than 50 rows with an amount.
    """
    payments = np.flatnonzero(frame["amount"].to_numpy() > 0)
    if len(payments) < 50:
        raise BatonError(f"bad_rows: {len(payments)} rows with an amount are too few; give at least 50")
    text = as_text(frame)
    rng = np.random.default_rng(seed)
    chosen = iter(rng.permutation(payments).tolist())
    truth: list[dict[str, Any]] = []

    def cell(row: int, column: str) -> str:
        return str(text.at[row, column])

    def plant(row: int, kind: str, rules: Sequence[str], cells: Mapping[str, str]) -> None:
        right = {column: cell(row, column) for column in cells}
        for column, value in cells.items():
            text.at[row, column] = value
        truth.append({"_row": row + 1, "kind": kind, "rules": tuple(rules), "column": ", ".join(cells),
                      "planted": ", ".join(cells.values()), "repair": right})  # fmt: skip

    for column, wrong in _WRONG_TYPES:
        row = next(chosen)
        plant(row, "wrong type", ["type"], {column: wrong.format(cell(row, column))})
    for row in islice(chosen, 4):
        plant(row, "negative amount", ["amount_implausible"], {"amount": "-" + cell(row, "amount")})
    for row in islice(chosen, 4):
        plant(row, "missing key", ["key_missing"], {"transaction_id": ""})
    for row in islice(chosen, 1):
        both = {"transaction_id": "", "amount": "-" + cell(row, "amount")}
        plant(row, "missing key, negative amount", ["key_missing", "amount_implausible"], both)
    for kept, row in zip(list(islice(chosen, 4)), list(islice(chosen, 4)), strict=True):
        key = {"transaction_id": cell(kept, "transaction_id")}
        plant(row, "overwritten key", ["key_duplicate"], key)
        plant(kept, "key used twice", ["key_duplicate"], key)
    copies = list(islice(chosen, 3))
    for number, row in enumerate(copies):
        plant(row, "key used twice", ["key_duplicate"], {"transaction_id": cell(row, "transaction_id")})
        truth.append({**truth[-1], "_row": len(text) + number + 1, "kind": "delivered twice", "repair": None})
    text = pd.concat([text, text.iloc[copies]], ignore_index=True)
    if unknown_column:
        text[UNKNOWN_COLUMN] = rng.choice(["chip", "contactless", "online"], size=len(text))
    return text.to_csv(index=False), pd.DataFrame(truth).sort_values("_row", ignore_index=True)


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as a delivery writes it: numbers that read back exactly, times as ISO 8601 in UTC."""
    text = pd.DataFrame(index=range(len(frame)))
    for name in frame.columns:
        values = frame[name].reset_index(drop=True)
        if pd.api.types.is_datetime64_any_dtype(values):
            text[name] = values.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif pd.api.types.is_float_dtype(values):
            text[name] = [repr(value) for value in values.tolist()]
        else:
            text[name] = values.astype(str)
    return text


def cents(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with the amount in cents: a unit error, which is broken data and no drift."""
    return frame.assign(amount=(frame["amount"] * 100).round())


def shift(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows after the card network's refit (the module's text): new value = offset - old."""
    return frame.assign(**{name: offset - frame[name] for name, offset in REFIT.items()})


def analysts(
    keys: Iterable[str],
    truth: Mapping[str, int] | pd.Series,
    seed: int,
    *,
    missed: float = MISSED,
    false_alarm: float = FALSE_ALARM,
) -> dict[str, str]:
    """What analysts answer on cases: mostly the truth, wrong at the stated rates.

    A case's answer depends on the seed and its key alone, not on which cases are asked together.

    Args:
        keys: entity keys of the cases.
        truth: key -> 1 fraud, 0 legitimate.
        missed: share of frauds called legitimate; false_alarm: the other way round.

    Returns:
        key -> `fraud` or `legitimate`.

    Raises:
        BatonError: a key without truth.
    """
    answers = {}
    for key in keys:
        if key not in truth:
            raise BatonError(f"analysts: nothing is known about case {key!r}; ask about hours with recorded labels")
        fraud = bool(truth[key])
        draw = int(hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()[:13], 16) / 16**13
        wrong = draw < (missed if fraud else false_alarm)
        answers[key] = "fraud" if fraud != wrong else "legitimate"
    return answers


def deliver(frame: pd.DataFrame, partition: str, source: str = "transactions") -> Path:
    """Write a Parquet delivery for a partition into the landing folder; it supersedes the recording."""
    return _put(partition, source, "parquet", lambda path: frame.to_parquet(path, index=False))


def deliver_text(text: str, partition: str, source: str = "transactions") -> Path:
    """Write a CSV delivery for a partition into the landing folder; it supersedes the recording."""
    return _put(partition, source, "csv", lambda path: path.write_text(text, encoding="utf-8", newline=""))


def _put(partition: str, source: str, ending: str, write: Any) -> Path:
    """Replace whatever was delivered for the partition; a reader never sees half a file."""
    from baton.data.partitions import safe_name
    from baton.settings import settings

    folder = settings().landing_dir / source
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{safe_name(partition)}.{ending}"
    unfinished = target.with_suffix(".tmp")
    write(unfinished)
    for earlier in folder.glob(f"{safe_name(partition)}.*"):
        if earlier not in (target, unfinished):
            earlier.unlink()
    return unfinished.replace(target)
