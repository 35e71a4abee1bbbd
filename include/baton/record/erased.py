"""Who was erased: the ledger names an erased entity by the digest of its key, so that `trace` still has an answer."""

import hashlib

from baton.record import ledger
from baton.record.ledger import LedgerEntry

ERASED = "entity_erased"


def subject(flow: str, entity: str) -> str:
    """How the ledger names an erased entity of a flow."""
    return f"{flow}/{hashlib.sha256(entity.encode()).hexdigest()}"


def erasures(entity: str, flow: str | None = None) -> list[LedgerEntry]:
    """Entries of an entity's erasures, newest first; of one flow, or of all."""
    _, digest = subject("", entity).split("/")
    found = ledger.entries(kind=ERASED, limit=1_000_000)
    return [one for one in found if one.subject.endswith(f"/{digest}") and one.subject.startswith(f"{flow or ''}")]
