"""Connections of an ordinary day and of attacks, with what one connection shows by itself; a model of our own.

Sizes are log-normal per service, ends (flags) and small mishaps have their rates. Ordinary and hostile traffic overlap on
purpose: people mistype passwords, send large files and scan by order; some attackers take their time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd

from baton_demo.incident_response import company
from baton_demo.incident_response.company import Machine

OWN = (
    "duration", "src_bytes", "dst_bytes", "land", "wrong_fragment", "urgent", "hot", "num_failed_logins", "logged_in",
    "num_compromised", "root_shell", "su_attempted", "num_root", "num_file_creations", "num_shells", "num_access_files",
    "num_outbound_cmds", "is_host_login", "is_guest_login",
)  # fmt: skip

# service: share, protocol, port, bytes sent and received (median, spread), seconds (mean), share of them logged in
_SERVICES: dict[str, tuple[float, str, tuple[float, float], tuple[float, float], float, float]] = {
    "http": (0.28, "tcp", (240, 0.5), (2_600, 1.3), 0.6, 0.97), "http_443": (0.24, "tcp", (900, 0.8), (5_200, 1.5), 3, 0.9),
    "domain_u": (0.2, "udp", (44, 0.2), (125, 0.45), 0, 0), "smtp": (0.05, "tcp", (1_050, 0.9), (330, 0.2), 1.5, 0.9),
    "imap4": (0.05, "tcp", (120, 0.6), (1_700, 1.2), 5, 0.95), "ldap": (0.04, "tcp", (310, 0.5), (600, 0.9), 0.4, 0.6),
    "sql_net": (0.03, "tcp", (700, 0.9), (4_000, 1.4), 8, 0.8), "ssh": (0.03, "tcp", (2_900, 1.1), (4_100, 1.1), 90, 0.9),
    "ftp_data": (0.015, "tcp", (30_000, 1.9), (0, 0), 2, 0.6), "ntp_u": (0.025, "udp", (48, 0.0), (48, 0.0), 0, 0),
    "eco_i": (0.01, "icmp", (64, 0.3), (0, 0), 0, 0), "private": (0.015, "udp", (105, 0.3), (146, 0.3), 0, 0),
    "other": (0.015, "tcp", (90, 1.5), (60, 1.5), 2, 0.1),
}  # fmt: skip
# a year later: a new collaboration suite talks over its own port and over UDP, the old pages are hardly read
_LATER = {"http": 0.1, "http_443": 0.16, "http_8001": 0.26, "private": 0.14, "imap4": 0.01, "smtp": 0.02}
_NEW = {"http_8001": (0.26, "tcp", (5_200, 1.0), (900, 1.0), 25, 0.99)}
_FLAGS, _RATES = ("SF", "REJ", "S0", "RSTO", "RSTR", "S1"), (0.948, 0.02, 0.012, 0.01, 0.006, 0.004)
_TO_SERVER = {"smtp": company.MAIL, "imap4": company.MAIL, "sql_net": company.DATABASE, "ldap": company.CONTROLLER,
              "domain_u": company.CONTROLLER, "ntp_u": company.CONTROLLER, "ftp_data": company.FILES, "eco_i": company.CONTROLLER}  # fmt: skip
_PORTS = ("http", "ftp", "telnet", "smtp", "ssh", "finger", "pop_3", "imap4", "ldap", "sql_net", "netbios_ssn", "sunrpc", "X11",
          "printer", "auth", "whois", "vmnet", "systat", "daytime", "private")  # fmt: skip


class Traffic:
    """Collects connections; `frame` gives them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self._rows = rng, list[dict[str, Any]]()

    def add(self, at: float, source: str, target: str, service: str, protocol: str = "tcp", flag: str = "SF", *,
            attack: str = "", is_attack: bool | None = None, **own: Any) -> None:  # fmt: skip
        """One connection between two addresses; `own`: what it shows by itself, where that is not 0."""
        if flag in ("REJ", "S0"):
            own = {"duration": 0}
        row = {"seconds": round(float(at), 3), "src_endpoint_ip": source, "dst_endpoint_ip": target, "service": service,
               "protocol_type": protocol, "flag": flag, "src_port": own.pop("src_port", int(self.rng.integers(30_000, 65_000))),
               "attack": attack, "is_attack": int(bool(attack) if is_attack is None else is_attack)}  # fmt: skip
        self._rows.append({**row, **dict.fromkeys(OWN, 0), **{name: int(value) for name, value in own.items()}})

    def frame(self) -> pd.DataFrame:
        """One row a connection, in order of time."""
        return pd.DataFrame(self._rows).sort_values("seconds", kind="stable", ignore_index=True)


def everyday(
    made: Traffic, start: float, length: float, mean: float, later: bool = False, away: Collection[str] = ()
) -> None:
    """Ordinary connections of `length` seconds from `start`, `mean` of them to be expected.

    Args:
        away: desks that nobody sits at.
        later: with the services of a year later.
    """
    rng = made.rng
    services = {**_SERVICES, **(_NEW if later else {})}
    shares = np.array([_LATER.get(name, spec[0]) if later else spec[0] for name, spec in services.items()])
    names, hosts = list(services), company.hosts()
    desks = [host for host in hosts.values() if host.asset_class == company.WORKSTATION and host.name not in away]
    number = rng.poisson(mean)
    chosen = rng.choice(len(names), number, p=shares / shares.sum())
    for at, index in zip(start + np.sort(rng.uniform(0, length, number)), chosen, strict=True):
        service = names[index]
        _, protocol, sent, received, lasts, logged_in = services[service]
        desk = desks[rng.integers(len(desks))]
        source, target = desk.address, _target(rng, service)
        flag = _FLAGS[rng.choice(len(_FLAGS), p=_RATES)] if protocol == "tcp" else "SF"
        own: dict[str, Any] = {"src_bytes": _size(rng, *sent), "dst_bytes": _size(rng, *received),
                               "duration": rng.exponential(lasts) if lasts else 0, "logged_in": rng.random() < logged_in}  # fmt: skip
        if service == "http_443" and rng.random() < 0.035:  # somebody sends a film home
            own |= {"src_bytes": min(rng.lognormal(15.2, 1.3), 4e8), "duration": rng.exponential(60) + 4}
        if service in ("ssh", "imap4", "ldap") and rng.random() < 0.04:  # a finger slipped
            own |= {
                "num_failed_logins": rng.integers(1, 3),
                "logged_in": rng.random() < 0.7,
                "src_bytes": _size(rng, 1_300, 0.4),
            }
        if service == "ssh" and own["logged_in"] and rng.random() < 0.2:
            own |= {"num_root": rng.integers(1, 5), "num_file_creations": rng.integers(0, 3), "hot": rng.integers(0, 2)}
        made.add(at, source, target, service, protocol, flag, **own)


def backup(made: Traffic, at: float) -> None:
    """The nightly copy of the files: as large as a leak, and meant."""
    hosts, rng = company.hosts(), made.rng
    for number in range(int(rng.integers(3, 9))):
        made.add(at + 20 * number, hosts[company.FILES].address, hosts[company.BACKUP].address, "ftp_data",
                 src_bytes=min(rng.lognormal(16.5, 0.8), 4e8), duration=rng.exponential(40) + 5, logged_in=1)  # fmt: skip


# --- attacks; each takes its connections, start, seconds that it lasts, and how many it makes ---


def flood(made: Traffic, at: float, lasts: float, number: int, attack: str = "flood") -> None:
    """Half-open connections to one service, many at a time."""
    rng, target = made.rng, company.hosts()[company.WEB].address
    service = ("http", "http_443", "private")[rng.integers(3)]
    for moment in _moments(rng, at, lasts, number):
        made.add(moment, _stranger(rng), target, service, flag="S0" if rng.random() < 0.93 else "SF", attack=attack,
                 src_bytes=rng.integers(0, 300))  # fmt: skip


def sweep(made: Traffic, at: float, lasts: float, number: int, attack: str = "sweep", *,
          source: str | None = None, targets: list[Machine] | None = None, harmless: bool = False) -> None:  # fmt: skip
    """Every port of many hosts is tried, most of them closed.

    Args:
        harmless: by order: nobody's attack, though it looks the same.
    """
    rng = made.rng
    source = source or _stranger(rng)
    targets = targets or [list(company.hosts().values())[index] for index in rng.integers(0, 48, 5)]
    for moment in _moments(rng, at, lasts, number):
        flag = ("REJ", "S0", "RSTR", "RSTO", "SF")[rng.choice(5, p=(0.5, 0.2, 0.12, 0.06, 0.12))]
        target = targets[rng.integers(len(targets))].address
        made.add(moment, source, target, _PORTS[rng.integers(len(_PORTS))], "tcp", flag, attack=attack, is_attack=not harmless,
                 src_bytes=rng.integers(0, 120), dst_bytes=rng.integers(0, 300) if flag == "SF" else 0)  # fmt: skip


def guess(made: Traffic, at: float, lasts: float, number: int, attack: str = "guess", *,
          source: str | None = None, target: str | None = None) -> None:  # fmt: skip
    """Passwords are guessed: short log-ins that fail."""
    rng = made.rng
    source, service = source or _stranger(rng), "ssh" if target or rng.random() < 0.7 else "telnet"
    target = target or company.hosts()[company.JUMP].address
    for moment in _moments(rng, at, lasts, number):
        flag = ("SF", "RSTO", "S1")[rng.choice(3, p=(0.7, 0.25, 0.05))]
        made.add(moment, source, target, service, "tcp", flag, attack=attack, duration=rng.integers(0, 5),
                 num_failed_logins=rng.choice((0, 1, 2, 3), p=(0.15, 0.6, 0.15, 0.1)),
                 hot=rng.random() < 0.15, src_bytes=_size(rng, 1_250, 0.35), dst_bytes=_size(rng, 1_700, 0.35))  # fmt: skip


def leak(made: Traffic, at: float, lasts: float, number: int, attack: str = "leak", *,
         source: str | None = None, target: str | None = None) -> None:  # fmt: skip
    """Large pieces go out, little comes back."""
    rng, desks = made.rng, company.WORKSTATIONS
    source = source or list(company.hosts().values())[rng.integers(desks)].address
    target = target or _stranger(rng)
    for moment in _moments(rng, at, lasts, number):
        made.add(moment, source, target, "http_443" if rng.random() < 0.85 else "ftp_data", attack=attack, logged_in=rng.random() < 0.5,
                 src_bytes=min(rng.lognormal(17.0, 0.9), 9e8), dst_bytes=_size(rng, 900, 0.7), duration=rng.exponential(45) + 8)  # fmt: skip


def tunnel(made: Traffic, at: float, lasts: float, number: int, attack: str = "tunnel", *,
           source: str | None = None, target: str | None = None) -> None:  # fmt: skip
    """Content in names that are asked for: many long questions to one place."""
    rng = made.rng
    source = source or list(company.hosts().values())[rng.integers(company.WORKSTATIONS)].address
    target = target or _stranger(rng)
    for moment in _moments(rng, at, lasts, number):
        made.add(
            moment,
            source,
            target,
            "domain_u",
            "udp",
            attack=attack,
            src_bytes=_size(rng, 190, 0.25),
            dst_bytes=_size(rng, 170, 0.5),
        )


def takeover(made: Traffic, at: float, lasts: float, number: int, attack: str = "takeover", *,
             source: str | None = None, target: str | None = None) -> None:  # fmt: skip
    """Somebody who got in works as root."""
    rng = made.rng
    source = source or _stranger(rng)
    target = target or company.hosts()[company.BUILD].address
    for moment in _moments(rng, at, lasts, number):
        made.add(moment, source, target, "ssh", attack=attack, duration=rng.exponential(300) + 20, logged_in=1, hot=rng.integers(0, 6),
                 num_compromised=rng.integers(0, 4), root_shell=rng.random() < 0.5, su_attempted=rng.random() < 0.2,
                 num_root=rng.integers(1, 9), num_file_creations=rng.integers(0, 5), num_shells=rng.integers(0, 2),
                 num_access_files=rng.integers(0, 3), src_bytes=_size(rng, 6_000, 0.9), dst_bytes=_size(rng, 14_000, 1.0))  # fmt: skip


ATTACKS: dict[str, tuple[Callable[..., None], tuple[float, float], tuple[int, int]]] = {
    "flood": (flood, (8, 40), (40, 110)), "sweep": (sweep, (20, 250), (25, 80)), "guess": (guess, (60, 280), (12, 45)),
    "leak": (leak, (100, 280), (3, 9)), "tunnel": (tunnel, (60, 280), (5, 12)), "takeover": (takeover, (30, 250), (3, 9)),
}  # fmt: skip
"""Kind -> its function, the seconds that it lasts, how many connections it makes (from, to)."""


def _moments(rng: np.random.Generator, at: float, lasts: float, number: int) -> np.ndarray:
    return at + np.sort(rng.uniform(0, lasts, number))


def _size(rng: np.random.Generator, median: float, spread: float) -> float:
    return float(median * np.exp(spread * rng.standard_normal())) if median else 0.0


def _stranger(rng: np.random.Generator) -> str:
    return f"198.51.100.{rng.integers(1, 31)}"


def _target(rng: np.random.Generator, service: str) -> str:
    """Where a desk's connection goes."""
    hosts = company.hosts()
    if service in _TO_SERVER:
        return hosts[_TO_SERVER[service]].address
    if service == "ssh":
        return hosts[(company.JUMP, company.BUILD, company.BACKUP)[rng.integers(3)]].address
    if service in ("http", "other", "private") and rng.random() < 0.3:
        return hosts[company.WEB].address
    return f"192.0.2.{rng.integers(1, 41)}"
