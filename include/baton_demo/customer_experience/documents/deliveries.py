"""Deliveries to a company's intake, seeded, with ground truth: mails and PDFs written for real.

Twelve invented suppliers, seven buyers and any number of private persons write to an invented company in English,
German, French and Dutch. Suppliers keep their layout, language, domain, account and usual amounts; texts are patterns
(folder `wording`) with slots, filler sentences, quoted earlier messages and typing errors.

**The shift.** From a moment on four further companies write `NEW_SHARE` of everything but junk. Their trade has other
words for the same things: a settlement advice is an invoice, an open items report a reminder, a call-off an order.
Accuracy of TF-IDF (words and pairs) with a linear model, seed 11, one document every 10 minutes:

    ============================================  =====  ======
    fitted on; judged on                          type   intent
    ============================================  =====  ======
    1,000 documents; six later days               0.964  0.942
    2,016 documents; the same days                0.986  0.980
    2,016 documents; every other one after shift  0.848  0.866
    and 560 after the shift; the same             0.979  0.975
    ============================================  =====  ======

**What is hard.** Reminders with a copy of the invoice, complaints that quote a reminder, enquiries that sound
like complaints, mails that say `see attachment`, scams that look like invoices. And for the risk: honest invoices that
are large, that a colleague passes on from an address never seen, reminders with sharp words.
"""

import hashlib
import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import cycle, islice
from typing import Any

import pandas as pd

from baton.errors import BatonError
from baton_demo.customer_experience.documents.bad import KINDS, broken
from baton_demo.customer_experience.documents.cases import RISKS, TYPES, Case, Numbers, case
from baton_demo.customer_experience.documents.delivery import Arrival, deliver

MIX: Mapping[str, float] = {"invoice": 0.50, "reminder": 0.09, "order": 0.11, "contract": 0.06, "complaint": 0.09,
                            "enquiry": 0.09, "junk": 0.06}  # fmt: skip
RISKY = 0.04
SCANS = 0.02
NEW_SHARE = 0.45
REMEMBERED = 200  # invoices of which one may be sent again

SAID = (
    "simulated, seeded: every document, its sender and all persons and accounts in it; "
    f"{RISKY:.0%} of them carry a planted risk, and the shift brings four companies with another jargon"
)
TRUTH = ("document_id", "type", "intent", "risky", "risk_kind", "issuer", "invoice_number", "date", "total", "currency",
         "account_number", "customer_number", "needs_reply", "bad", "language", "form", "personal")  # fmt: skip


def documents(
    n: int,
    seed: int,
    start: datetime | str,
    step: timedelta,
    *,
    mix: Mapping[str, float] | None = None,
    shift: datetime | str | None = None,
    bad: int = 0,
    risky: float = RISKY,
    scans: float = SCANS,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Documents as a source delivers them, one every `step` from `start` on, and the truth about them.

    The same arguments give the same bytes. Duplicates repeat an invoice of the same call.

    Args:
        n: ordinary documents; bad: broken or odd ones in addition, all kinds of `bad.KINDS` in turn,
            scattered among the others.
        start: UTC when it names no zone; shift: from when on the new companies write, None for never.
        mix: shares of types, laid over `MIX`; risky: share of documents with a planted risk, none without invoices.
        scans: share of invoices that are pictures.

    Returns:
        *documents*: document_id (20 hex digits), channel, name, received_at, content (bytes; None: not carried), size
        (bytes), problem. And the truth in the same order: document_id, type, intent, risky (0/1), risk_kind; issuer,
        invoice_number, date (ISO), total, currency, account_number (IBAN without blanks), customer_number: None or NaN
        where the document does not name it, and for junk; needs_reply (0/1), bad (problem code or ""), language, form,
        personal (JSON list of [kind, value]: personal data in the document).

    Raises:
        BatonError: a type or share that does not exist, negative numbers.
    """
    shares = _shares(mix)
    if n < 0 or bad < 0 or not 0 <= risky <= 1 or not 0 <= scans <= 1:
        raise BatonError(f"documents: n={n}, bad={bad}, risky={risky}, scans={scans}; give counts >= 0, shares 0..1")
    first, moment = _utc(start), _utc(shift) if shift is not None else None
    numbers, earlier = Numbers(), list[tuple[Case, bytes]]()
    positions = set(random.Random(f"{seed}/{first}/bad").sample(range(n + bad), bad))
    odd = dict(zip(sorted(positions), islice(cycle(KINDS), bad), strict=True))
    rows, known = [], []
    for number in range(n + bad):
        received = first + number * step
        name = f"{seed}/{received.isoformat()}/{number}"
        key = hashlib.sha256(f"document/{name}".encode()).hexdigest()[:20]
        risk = language = ""
        if number in odd:
            kind, arrived = broken(odd[number], key, name, received.to_pydatetime(), numbers)
        else:
            rng = random.Random(name)
            kind, risk = _kind(rng, shares, risky)
            new = moment is not None and received >= moment and kind != "junk" and not risk and rng.random() < NEW_SHARE
            made, arrived, risk = _document(
                rng, kind, received.to_pydatetime(), numbers, earlier, key, new, risk, scans
            )
            language = made.language
        rows.append(_row(key, received, arrived))
        known.append(_truth(key, kind, risk, language, arrived))
    frame = pd.DataFrame(rows, columns=["document_id", "channel", "name", "received_at", "content", "size", "problem"])
    frame["received_at"] = pd.to_datetime(frame["received_at"], utc=True)
    return frame.astype({"content": object, "size": "int64", "problem": object}), _typed(known)


def _document(rng: random.Random, kind: str, received: datetime, numbers: Numbers, earlier: list[tuple[Case, bytes]],
              key: str, new: bool, risk: str, scans: float) -> tuple[Case, Arrival, str]:  # fmt: skip
    """One ordinary or risky document; remembers its invoice. The risk comes back: nothing can be sent again at first."""
    if risk == "duplicate" and earlier:
        first, pdf = rng.choice(earlier)
        made = first.again(rng, received)
        return made, deliver(made, key, pdf=pdf), risk
    risk = "" if risk == "duplicate" else risk
    made = case(rng, kind, received, numbers, new=new, risk=risk)
    arrived = deliver(made, key, risk=risk, scans=scans)
    own = made.company is not None and made.sender.endswith(
        f"@{made.company.domain}"
    )  # not one passed on by a colleague
    if kind == "invoice" and own and not risk and arrived.form != "scan":
        earlier.append((made, arrived.pdf))
        del earlier[:-REMEMBERED]
    return made, arrived, risk


def _kind(rng: random.Random, shares: Mapping[str, float], risky: float) -> tuple[str, str]:
    """Type and risk; risks concern invoices, pressure now and then a reminder."""
    if shares["invoice"] and rng.random() < risky:
        risk = rng.choice(RISKS)
        return ("reminder" if risk == "pressure" and rng.random() < 0.25 else "invoice"), risk
    return rng.choices(list(shares), weights=list(shares.values()))[0], ""


def _shares(mix: Mapping[str, float] | None) -> Mapping[str, float]:
    shares = {**MIX, **(mix or {})}
    unknown = sorted(set(shares) - set(TYPES))
    if unknown or min(shares.values()) < 0 or not sum(shares.values()):
        raise BatonError(
            f"documents: mix {dict(mix or {})} is no set of shares; types are {', '.join(TYPES)}, shares >= 0"
        )
    return shares


def _utc(moment: datetime | str) -> pd.Timestamp:
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")


def _row(key: str, received: pd.Timestamp, arrived: Arrival) -> tuple[Any, ...]:
    size = arrived.size if arrived.content is None else len(arrived.content)
    problem = "too_large" if arrived.content is None else None
    return key, "simulated", arrived.name, received, arrived.content, size, problem


def _truth(key: str, kind: str, risk: str, language: str, arrived: Arrival) -> dict[str, Any]:
    personal = json.dumps(sorted(set(arrived.personal)), ensure_ascii=False)
    return {"document_id": key, "type": kind, "intent": arrived.intent, "risky": int(bool(risk)), "risk_kind": risk,
            **arrived.fields, "needs_reply": arrived.reply, "bad": arrived.bad, "language": language,
            "form": arrived.form, "personal": personal}  # fmt: skip


def _typed(known: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(known, columns=list(TRUTH))
    types = {column: object for column in TRUTH if column not in ("risky", "total", "needs_reply")}
    return frame.astype({**types, "risky": "int64", "needs_reply": "int64", "total": "float64"})
