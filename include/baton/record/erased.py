"""Who was erased: the ledger names an erased entity by the digest of its key, so that `trace` still has an answer."""

import hashlib

from baton.record import ledger
from baton.record.ledger import LedgerEntry

ERASED = "entity_erased"
_ALL = 1_000_000


def subject(flow: str, entity: str) -> str:
    """How the ledger names an erased entity of a flow."""
    return f"{flow}/{hashlib.sha256(entity.encode()).hexdigest()}"


def erasures(entity: str, flow: str | None = None) -> list[LedgerEntry]:
    """Entries of an entity's erasures, newest first; of one flow, or of all."""
    if flow is not None:
        return ledger.entries(subject(flow, entity), ERASED, _ALL)
    of_any = subject("", entity)
    return [one for one in ledger.entries(kind=ERASED, limit=_ALL) if one.subject.endswith(of_any)]
