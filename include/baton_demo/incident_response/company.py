"""The simulated company: its hosts and people, and what the world outside is known for. No chance in it, no state.

Addresses outside are out of the three networks that are kept for documentation; nobody has them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

WORKSTATION, SERVER, DOMAIN_CONTROLLER = "workstation", "server", "domain_controller"
DEPARTMENTS = ("finance", "sales", "engineering", "support", "people")
WORKSTATIONS, USERS = 40, 60

# name, what runs there, owner, how bad its loss is (1..5)
_SERVERS = (
    ("srv-web", "http", "engineering", 3), ("srv-mail", "smtp", "operations", 4), ("srv-files", "smb", "operations", 4),
    ("srv-db", "sql", "finance", 5), ("srv-build", "ssh", "engineering", 3), ("srv-jump", "ssh", "operations", 4),
    ("srv-backup", "ssh", "operations", 5), ("srv-scan", "https", "security", 2),
)  # fmt: skip
JUMP, FILES, DATABASE, BACKUP, SCANNER, MAIL, WEB, BUILD = (
    "srv-jump", "srv-files", "srv-db", "srv-backup", "srv-scan", "srv-mail", "srv-web", "srv-build",
)  # fmt: skip
CONTROLLER = "dc-01"
ADMINISTRATORS = ("a.berg", "a.chan")  # beside the service account
SERVICE_ACCOUNT = "svc-backup"

_FIRST = ("anna", "boris", "carla", "dmitri", "elena", "farid", "greta", "hugo", "ines", "jonas", "kira", "leo")
_LAST = ("adler", "bruns", "castro", "dahl", "egger")


@dataclass(frozen=True)
class Machine:
    """A machine of the company.

    Attributes:
        name: as events and the inventory have it.
        address: inside the company, 10.x.
        asset_class: workstation, server or domain_controller.
        owner: user or team.
        criticality: 1 (nobody would notice) .. 5.
        roles: what it may look like to others, e.g. `vulnerability_scanner`: its noise is meant.
    """

    name: str
    address: str
    asset_class: str
    owner: str
    criticality: int
    roles: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """An account of the company."""

    name: str
    department: str
    privileged: bool
    disabled: bool
    workstation: str


@dataclass(frozen=True)
class Outside:
    """An address or a domain outside, and what is known of it.

    Attributes:
        score: 0 (nothing against it) .. 100 (worst).
    """

    indicator: str
    score: int
    categories: tuple[str, ...]


@cache
def hosts() -> dict[str, Machine]:
    """Name -> host: 40 workstations, 8 servers, the domain controller."""
    people = list(users().values())
    found = [
        Machine(f"ws-{n:02d}", f"10.20.{n // 20}.{10 + n}", WORKSTATION, people[n - 1].name, 1 + n % 2, ())
        for n in range(1, WORKSTATIONS + 1)
    ]
    for number, (name, service, owner, criticality) in enumerate(_SERVERS):
        roles = ("vulnerability_scanner",) if name == SCANNER else (f"{service}_server",)
        found.append(Machine(name, f"10.10.0.{10 + number}", SERVER, owner, criticality, roles))
    found.append(Machine(CONTROLLER, "10.10.0.2", DOMAIN_CONTROLLER, "operations", 5, ("accounts",)))
    return {host.name: host for host in found}


@cache
def users() -> dict[str, User]:
    """Name -> account: 57 people, two administrators, the account of the backups."""
    found = []
    for number in range(USERS - 3):
        name = f"{_FIRST[number % len(_FIRST)]}.{_LAST[number // len(_FIRST)]}"
        station = f"ws-{number % WORKSTATIONS + 1:02d}"
        found.append(User(name, DEPARTMENTS[number % len(DEPARTMENTS)], False, number >= USERS - 5, station))
    found += [User(name, "operations", True, False, "ws-38") for name in ADMINISTRATORS]
    found.append(User(SERVICE_ACCOUNT, "operations", True, False, BACKUP))
    return {user.name: user for user in found}


ATTACKER, EXFILTRATED_TO, TUNNEL = "203.0.113.66", "198.51.100.200", "cdn-sync-node.example"
FRIENDLY_DOMAINS = (
    "mail.example", "calendar.example", "maps.example", "news.example", "packages.example", "video.example",
    "weather.example", "docs.example", "pay.example", "cloud.example",
)  # fmt: skip


@cache
def outside() -> dict[str, Outside]:
    """Indicator -> what is known; what is not in it is unknown."""
    return {one.indicator: one for one in _outside()}


def _outside() -> Iterator[Outside]:
    for number in range(1, 41):  # services that everybody uses
        yield Outside(f"192.0.2.{number}", number % 7, ("hosting",) if number % 3 else ("content delivery",))
    for number in range(1, 31):  # other people's connections: neither good nor bad
        yield Outside(f"198.51.100.{number}", 10 + number % 20, ("residential",))
    for number in range(60, 64):  # knocking at every door of the internet, all day
        yield Outside(f"203.0.113.{number}", 55 + number % 10, ("scanner",))
    for domain in FRIENDLY_DOMAINS:
        yield Outside(domain, 0, ("business",))
    yield Outside(ATTACKER, 96, ("brute force", "botnet"))
    yield Outside(EXFILTRATED_TO, 78, ("anonymous storage", "newly seen"))
    yield Outside(TUNNEL, 88, ("newly registered", "tunnel"))
