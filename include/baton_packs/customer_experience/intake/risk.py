"""Risk signs of a document, for a scoring model: is it a repetition, out of pattern, from somebody else, in a hurry?"""

from __future__ import annotations

import math
import re
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError
from baton_packs.customer_experience.fields.company import FREE, name_key, owned_domain
from baton_packs.customer_experience.fields.extract import texts_of
from baton_packs.customer_experience.intake.pressure import urgency

if TYPE_CHECKING:
    import pandas as pd

FEATURES = ("duplicate", "amount_ratio", "known_issuer", "sender_mismatch", "new_account", "urgency", "confidence",
            "total_missing", "amount")  # fmt: skip
PAST = ("document_id", "issuer", "invoice_number", "account_number", "total", "currency", "date", "sender")
NAMED = ("issuer", "invoice_number", "account_number", "date", "currency")  # as `_Document.of` takes them
RATIO = 10.0  # bounds of the log ratio: e^10 is 22,000 times the usual amount
ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@([\w-]+(?:\.[\w-]+)+)")


@dataclass(slots=True)
class _Party:
    """What is known of an issuer before a document arrives."""

    numbers: set[str] = field(default_factory=set)
    bills: set[tuple[float, str]] = field(default_factory=set)  # total and date
    totals: dict[str, list[float]] = field(default_factory=dict)  # currency -> sorted
    accounts: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Document:
    """One row, cleaned."""

    document_id: str
    party: str  # key of the issuer's name, else of the sender's domain
    issuer: str
    number: str
    account: str
    total: float | None
    currency: str
    date: str
    domain: str
    invoice: bool

    @classmethod
    def of(cls, document_id: str, total: Any, sender: str, invoice: bool, issuer: str, number: str, account: str,
           date: str, currency: str) -> _Document:  # fmt: skip
        domain = _domain(sender)
        value = float(total) if isinstance(total, int | float) and math.isfinite(total) else None
        return cls(document_id, _party(issuer, domain), name_key(issuer) if issuer else "", _plain(number).lstrip("0"),
                   _plain(account), value, currency, date, domain, invoice)  # fmt: skip

    @property
    def bill(self) -> tuple[float, str] | None:
        """Total and date, by which an invoice is known again whatever its number."""
        return (round(self.total, 2), self.date) if self.total and self.date else None


def features(parsed: pd.DataFrame, fields: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
    """Features of each document in the order of `parsed`; those of a document rest on what arrived before it.

    An earlier document of the same batch is past to a later one (by received_at, then by position).

    Args:
        parsed: document_id, received_at, sender, sender_name, reply_to, subject, text.
        fields: the frame of `fields.extract` for the same documents.
        past: earlier documents: document_id, issuer, invoice_number, account_number, total, currency, date, sender; may
            be empty.

    Returns:
        document_id, received_at, and as floats
        duplicate: 1 if the document_id was seen (the same mail delivered again), or an invoice of the same issuer with
            the same number, or with the same total and date; only invoices repeat (a confidence below 1 says so);
        amount_ratio: natural logarithm of |total| over the median |total| of the issuer's earlier ones in the same
            currency, within +-10; 0 if either is unknown;
        known_issuer: 1 if the issuer was seen; without an issuer, if the sender's domain was;
        sender_mismatch: 1 if the issuer was seen, but never from this mail domain; or the display name holds an address
            elsewhere; or it names the issuer though the address is one of a free mail service; or answers go elsewhere;
        new_account: 1 if the issuer's accounts are known and this one is none of them;
        urgency: 0..1, language of pressure, secrecy and changed accounts;
        confidence: of the extraction, 0..1;
        total_missing: 1 if the document is an invoice (a confidence below 1 says so) whose total was not found;
        amount: the total, 0 without one, negative for a credit note;
        and `_source`, `_row`, `_row_sha` if present.

    Raises:
        BatonError: a document has no row in `fields`, or `past` lacks a column.
    """
    import pandas as pd

    fields = _aligned(parsed, fields)
    missing = [name for name in PAST if name not in past]
    if len(past) and missing:
        raise BatonError(f"the past documents lack the columns {', '.join(missing)}; they need {', '.join(PAST)}")
    documents = list(_documents(parsed, fields))
    known = _Past.of(past, {document.party for document in documents})
    received = pd.to_datetime(parsed["received_at"], utc=True)
    order = received.reset_index(drop=True).sort_values(kind="stable", na_position="last").index
    columns = (texts_of(parsed, name) for name in ("subject", "text", "sender", "sender_name", "reply_to"))
    mails = list(zip(*columns, strict=True))
    rows: dict[int, tuple[float, ...]] = {}
    for i in order:
        subject, text, *addresses = mails[i]
        rows[i] = (*known.signs(documents[i], *addresses), urgency(subject, text))
        known.learn(documents[i])
    data = [rows[i] for i in range(len(documents))]
    made = pd.DataFrame(data, columns=list(FEATURES[:6]), index=parsed.index, dtype="float64")
    totals = pd.to_numeric(fields["total"], errors="coerce").astype("float64")
    confidence = pd.to_numeric(fields["confidence"], errors="coerce").astype("float64")
    made["confidence"] = confidence.fillna(0.0).to_numpy()
    made["total_missing"] = (totals.isna() & (confidence < 1.0)).astype("float64").to_numpy()
    made["amount"] = totals.fillna(0.0).to_numpy()
    made.insert(0, "document_id", parsed["document_id"])
    made.insert(1, "received_at", received)
    kept = [name for name in ("_source", "_row", "_row_sha") if name in parsed]
    return pd.concat([made, parsed[kept]], axis=1)


def _aligned(parsed: pd.DataFrame, fields: pd.DataFrame) -> pd.DataFrame:
    """The rows of `fields` in the order of `parsed`."""
    if list(fields["document_id"]) == list(parsed["document_id"]):
        return fields
    by_id = fields.drop_duplicates("document_id").set_index("document_id")
    lost = [str(each) for each in parsed["document_id"] if each not in by_id.index]
    if lost:
        what = f"{len(lost)} documents have no extracted fields, first {lost[0]}"
        raise BatonError(f"{what}; extract from the same frame")
    return by_id.loc[parsed["document_id"]].reset_index()


def _documents(parsed: pd.DataFrame, fields: pd.DataFrame) -> Iterator[_Document]:
    ids = [str(each) for each in parsed["document_id"]]
    columns = (texts_of(fields, name) for name in NAMED)
    given = zip(ids, fields["total"], texts_of(parsed, "sender"), fields["confidence"] < 1.0, *columns, strict=True)
    for document_id, total, sender, invoice, *texts in given:
        yield _Document.of(document_id, total, sender, bool(invoice), *texts)


def _party(issuer: str, domain: str) -> str:
    """The key of the issuer's name, else the sender's domain; "" if neither is known."""
    return (name_key(issuer) if issuer else "") or (f"@{domain}" if domain else "")


def _plain(number: str) -> str:
    """Numbers differ by what is typed between their digits: `INV 2024-01` and `inv2024/01` are the same."""
    return re.sub(r"[^A-Z0-9]", "", number.upper())


def _domain(address: str) -> str:
    """The domain of a mail address without subdomains, "" if it is no address."""
    return owned_domain(address.rpartition("@")[2]) if "@" in address else ""


@dataclass(slots=True)
class _Past:
    """What arrived before a document: ids, issuers, and the domains of senders."""

    seen: set[str] = field(default_factory=set)
    parties: dict[str, _Party] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, past: pd.DataFrame, wanted: set[str]) -> _Past:
        """What is known before the batch, of the `wanted` parties only: the past may be long."""
        known = cls()
        if not len(past):
            return known
        columns = (texts_of(past, name) for name in ("sender", *NAMED))
        for document_id, total, *texts in zip(past["document_id"].astype(str), past["total"], *columns, strict=True):
            domain = _domain(texts[0])
            if _party(texts[1], domain) in wanted:
                known.learn(_Document.of(document_id, total, texts[0], True, *texts[1:]))
            known.seen.add(document_id)
            if domain:  # who names no sender is nobody that one knows
                known.domains.add(domain)
        return known

    def learn(self, document: _Document) -> None:
        """A document that has arrived is past to the next one; the same delivery again says nothing new."""
        if document.document_id in self.seen:
            return
        self.seen.add(document.document_id)
        if document.domain:
            self.domains.add(document.domain)
        if not document.party:
            return
        party = self.parties.setdefault(document.party, _Party())
        if document.number and document.total is not None:  # a letter that names an invoice is not the invoice
            party.numbers.add(document.number)
        if document.account:
            party.accounts.add(document.account)
        if document.domain:
            party.domains.add(document.domain)
        if document.total:
            insort(party.totals.setdefault(document.currency, []), abs(document.total))
        if document.bill:
            party.bills.add(document.bill)

    def signs(self, document: _Document, sender: str, shown: str, reply_to: str) -> tuple[float, ...]:
        """duplicate, amount_ratio, known_issuer, sender_mismatch and new_account of a document, see `features`."""
        party = self.parties.get(document.party, _Party())
        again = document.number in party.numbers or document.bill in party.bills
        # a second question about an invoice is no second invoice
        repeats = document.document_id in self.seen or (document.invoice and again)
        familiar = document.party in self.parties if document.issuer else document.domain in self.domains
        mismatch = _mismatch(document, party, sender, shown, reply_to)
        changed = bool(document.account and party.accounts and document.account not in party.accounts)
        return float(repeats), _ratio(document, party), float(familiar), float(mismatch), float(changed)


def _ratio(document: _Document, known: _Party) -> float:
    before = known.totals.get(document.currency)
    if not document.total or not before:
        return 0.0
    ratio = math.log(abs(document.total)) - math.log(median(before))
    return max(-RATIO, min(RATIO, ratio))


def _mismatch(document: _Document, known: _Party, sender: str, shown: str, reply_to: str) -> bool:
    if document.issuer and document.domain and known.domains and document.domain not in known.domains:
        return True
    if inside := ADDRESS.search(shown):
        return _domain(inside.group()) != document.domain
    free = document.domain.split(".")[0] in FREE
    if document.issuer and free and document.issuer in name_key(shown):
        return True
    answers = _domain(reply_to)
    return bool(answers and document.domain and answers != document.domain)
