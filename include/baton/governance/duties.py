"""Duties: who may approve, audit, ... an asset, by grants with an end date that its owner or deputy gives.

A duty that was never granted on an asset is anybody's whom Airflow lets; once it was, it is its owner's, its deputy's, and of those
whose grant is good: a grant that ended opens nothing to others. `audit`, to which no log-in of Airflow's is asked, is theirs from the
start. A grant is in force once a second person agreed to it (`baton.actions.promotions.grant`). Airflow's auth manager is asked by the
host beside this: both must say yes.
"""

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError, SpecError
from baton.governance.assets import answered, find
from baton.governance.content import governance_agreed, require_governance
from baton.record import ledger, warehouse
from baton.record.tables import grants as table
from baton.settings import SINGLE, settings
from baton.specs.governance import ASSET_KINDS, AssetKind, AssetTerms

Duty = Literal["read", "consume", "modify", "approve", "activate", "spend", "audit"]
DUTIES: tuple[Duty, ...] = get_args(Duty)
LONGEST = 366  # days that a grant may last
# on which kinds of assets something asks for a duty; what nothing asks for is not given, since it would open and close nothing
ASKED: dict[Duty, tuple[AssetKind, ...]] = {
    "read": ASSET_KINDS,  # `console.host.Rights`, `console.queries.assets.listing`
    "approve": ASSET_KINDS,  # `actions.votes`
    "modify": ("model", "contract", "prompt", "agent", "rules"),  # a training by hand; whoever asks for a changed file
    "activate": ("model",),  # a promotion by hand, and a rollback
    "audit": ("flow",),  # evidence about a decision
}
_CLOSED: tuple[Duty, ...] = ("audit",)


@dataclass(frozen=True)
class Grant:
    """One row of `grants`: who may do what on which asset, until the end of the day `valid_to`, unless it was ended before.

    Attributes:
        agreed_at: since when it is in force: a second person agreed to it; None: it waits for them.
    """

    id: int
    asset: str
    person: str
    duty: str
    given_by: str
    reason: str | None
    at: str
    valid_to: str
    ended_at: str | None
    ended_by: str | None
    agreed_at: str | None

    def holds(self, at: str) -> bool:
        """Whether it is good at that time."""
        return self.agreed_at is not None and self.ended_at is None and self.valid_to > at

    def waits(self, at: str) -> bool:
        """Whether a second person has yet to agree to it."""
        return self.agreed_at is None and self.ended_at is None and self.valid_to > at


@dataclass(frozen=True)
class Who:
    """Somebody as the host knows them: the id that they logged in with, and what they are called."""

    id: str
    name: str = ""

    def among(self, *people: str) -> bool:
        """Whether they are one of these, by id or name; upper and lower case are the same person."""
        mine = {one.strip().casefold() for one in (self.id, self.name)} - {""}
        return bool(mine & {one.strip().casefold() for one in people})


_COLUMNS = [table.c[field.name] for field in fields(Grant)]


def asked_on(kind: str) -> list[Duty]:
    """Duties that something asks for on assets of a kind."""
    return [duty for duty in DUTIES if kind in ASKED.get(duty, ())]


def give(conn: Connection, asset: str, duty: str, person: str, giver: Who, until: date, reason: str) -> Grant:
    """Give somebody a duty on an asset until the end of a day, with its ledger entry.

    It is not in force before `agree`, but where one person runs the installation.

    Raises:
        BatonError: the giver is neither owner nor deputy, gives it to themselves, or what is said cannot be.
        SpecError: there is no such asset, or nobody answers for it.
    """
    known, today = find(asset), datetime.now(UTC).date()
    if duty not in DUTIES:
        raise BatonError(f"duty {duty!r}: there are {', '.join(DUTIES)}")
    _require_owner(conn, known.id, giver)
    if duty not in (there := asked_on(known.kind)):
        raise BatonError(f"duty {duty!r} on {known.id}: nothing asks for it, so nothing is given. Of a {known.kind} there are {', '.join(there)}"
                         + ("; which flows may use it say `consumers` in governance.yaml" if duty == "consume" else ""))  # fmt: skip
    who = person.strip()
    if not who or len(who) > 128 or who.startswith(("flow:", "agent:", "service:")):
        raise BatonError(f"person {person!r}: name somebody by what they log in with")
    if giver.among(who):
        raise BatonError(
            f"{known.id}: {giver.name or giver.id} gives nothing to themselves: owner and deputy have it already"
        )
    if not today <= until <= today + timedelta(days=LONGEST):
        raise BatonError(f"until {until}: a grant ends within {LONGEST} days, and not before today")
    if not reason.strip():
        raise BatonError("reason: say why, for whoever looks at it afterwards")
    end = warehouse.stamp(datetime.combine(until + timedelta(days=1), time(), UTC))
    values = {
        "asset": known.id,
        "person": who,
        "duty": duty,
        "given_by": giver.name or giver.id,
        "reason": reason.strip(),
    }
    single = settings().governance == SINGLE
    values |= {"at": warehouse.now(), "valid_to": end, **({"agreed_at": warehouse.now()} if single else {})}
    number = conn.execute(table.insert().values(values).returning(table.c.id)).scalar_one()
    said = {"grant": int(number), **{k: v for k, v in values.items() if k not in ("at", "agreed_at")}}
    ledger.append(conn, "grant_given", known.id, {**said, **({"governance": SINGLE} if single else {"waits": True})})
    return find_grant(conn, int(number))


def agree(conn: Connection, number: int, by: list[str], request: int) -> None:
    """A second person agreed: bring a grant in force, with its ledger entry.

    Raises:
        BatonError: it is over, or in force already.
    """
    grant = find_grant(conn, number)
    if not grant.waits(warehouse.now()):
        raise BatonError(f"grant {number} does not wait for anybody")
    conn.execute(table.update().where(table.c.id == number).values(agreed_at=warehouse.now()))
    ledger.append(conn, "grant_agreed", grant.asset, {"grant": number, "by": by, "request": request})


def lapse(conn: Connection, number: int, why: str) -> None:
    """Nobody agreed: a grant that waits is over."""
    here = (table.c.id == number, table.c.agreed_at.is_(None), table.c.ended_at.is_(None))
    conn.execute(table.update().where(*here).values(ended_at=warehouse.now(), ended_by=why))


def asked(conn: Connection, number: int) -> dict[str, str | None]:
    """What people agree to of a grant that waits; empty: it waits no more."""
    grant = find_grant(conn, number)
    shown = ("person", "duty", "valid_to", "given_by", "reason")
    return {name: getattr(grant, name) for name in shown} if grant.waits(warehouse.now()) else {}


def end(conn: Connection, number: int, by: Who, reason: str) -> Grant:
    """End a grant now, with its ledger entry: its asset's owner or deputy, or whoever has it, may.

    Raises:
        BatonError: there is none of that number, it is over, or it is not theirs to end.
    """
    grant = find_grant(conn, number)
    if not by.among(grant.person):
        _require_owner(conn, grant.asset, by)
    if not (grant.holds(warehouse.now()) or grant.waits(warehouse.now())):
        raise BatonError(f"grant {number} is over since {(grant.ended_at or grant.valid_to)[:19]}")
    values = {"ended_at": warehouse.now(), "ended_by": by.name or by.id}
    conn.execute(table.update().where(table.c.id == number, table.c.ended_at.is_(None)).values(values))
    ledger.append(conn, "grant_ended", grant.asset, {"grant": number, "by": values["ended_by"], "reason": reason})
    return find_grant(conn, number)


def of_asset(conn: Connection, asset: str, limit: int = 200) -> list[Grant]:
    """Grants on an asset, the newest first, also those that are over."""
    query = sa.select(*_COLUMNS).where(table.c.asset == asset).order_by(table.c.id.desc()).limit(limit)
    return [Grant(*row) for row in conn.execute(query)]


def in_force(conn: Connection, limit: int = 1000) -> list[Grant]:
    """Grants that are good now, by asset."""
    good = (table.c.agreed_at.is_not(None), table.c.ended_at.is_(None), table.c.valid_to > warehouse.now())
    query = sa.select(*_COLUMNS).where(*good).order_by(table.c.asset, table.c.id).limit(limit)
    return [Grant(*row) for row in conn.execute(query)]


def lacks(conn: Connection, asset: str, duty: Duty, who: Who) -> str:
    """Why somebody has not the duty on an asset; empty: they have it.

    Where governance.yaml cannot be read, or is not the one that people agreed to, nobody has it by nature, so that only whose grant is good remains.
    """
    here = (table.c.asset == asset, table.c.duty == duty, table.c.agreed_at.is_not(None))
    given = conn.execute(sa.select(table.c.person, table.c.valid_to, table.c.ended_at).where(*here)).all()
    if not given and duty not in _CLOSED:
        return ""
    now = warehouse.now()
    if any(who.among(one.person) for one in given if one.ended_at is None and one.valid_to > now):
        return ""
    try:
        terms = _terms(conn, asset)
    except SpecError as error:
        return f"{who.name or who.id or 'nobody'} has no grant to {duty} {asset}, and who answers for it is not to be read: {error}"
    if who.among(terms.owner, terms.deputy):
        return ""
    return (
        f"{who.name or who.id or 'nobody'} may not {duty} {asset}: that is for {terms.owner}, {terms.deputy} and whoever they gave the duty to "
        "(`baton grants list`)"
    )


def require(conn: Connection, asset: str, duty: Duty, who: Who) -> str:
    """Refuse whoever has not the duty on an asset, but where one person runs the installation: then it returns what is to be said.

    Raises:
        BatonError: they have it not; says who has.
    """
    why = lacks(conn, asset, duty, who)
    if why and settings().governance != SINGLE:
        raise BatonError(why)
    return (
        f"{why}. Allowed all the same: this installation says `governance: single`, one person runs it" if why else ""
    )


def withheld(conn: Connection, duty: Duty, who: Who) -> list[str]:
    """Assets on which a duty was given to others, and not to them: one query, and one look at each pack, however many there are.

    For an owner one query more to each pack of theirs: whether people agreed to what its governance.yaml says.
    """
    query = sa.select(table.c.asset, table.c.person, table.c.valid_to, table.c.ended_at)
    rows = conn.execute(query.where(table.c.duty == duty, table.c.agreed_at.is_not(None))).all()
    now = warehouse.now()
    good = {one.asset for one in rows if one.ended_at is None and one.valid_to > now and who.among(one.person)}
    others = sorted({one.asset for one in rows} - good)
    named = {one: pack for one, (pack, terms) in answered(others).items() if who.among(terms.owner, terms.deputy)}
    agreed = {pack for pack in set(named.values()) if governance_agreed(conn, pack)}
    return [one for one in others if named.get(one) not in agreed]


def _terms(conn: Connection, asset: str) -> AssetTerms:
    """Who answers for an asset by the governance.yaml that people agreed to. Raises SpecError: nobody does."""
    found = find(asset)
    require_governance(conn, found.pack)
    return found.terms


def _require_owner(conn: Connection, asset: str, who: Who) -> None:
    terms = _terms(conn, asset)
    if not who.among(terms.owner, terms.deputy):
        raise BatonError(
            f"{asset}: {who.name or who.id or 'nobody'} gives and ends no duties on it; its owner {terms.owner} and deputy {terms.deputy} do"
        )


def find_grant(conn: Connection, number: int) -> Grant:
    """The grant of that number. Raises BatonError: there is none."""
    row = conn.execute(sa.select(*_COLUMNS).where(table.c.id == number)).first()
    if row is None:
        raise BatonError(f"no grant has the number {number}; `baton grants list` shows those that are good")
    return Grant(*row)
