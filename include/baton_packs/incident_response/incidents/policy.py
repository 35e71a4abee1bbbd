"""The pack's rules about incidents, read from `policy/incidents.yaml`."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from pathlib import Path

from pydantic import Field, field_validator

from baton.effects.mail import is_address
from baton.packs.policy_file import read_policy
from baton.specs.base import Seq, Share, Spec
from baton_packs.incident_response import HERE
from baton_packs.incident_response.incidents.links import Declared

PATH = HERE / "policy" / "incidents.yaml"
OUTSIDE, INSIDE, PROTECTED = "outside", "inside", "protected"


class Protected(Spec):
    """Names that no action may hit."""

    addresses: Seq[str] = Field(default=(), description="addresses or networks")
    hosts: Seq[str] = Field(default=(), description="host names")
    accounts: Seq[str] = Field(default=(), description="accounts")

    @field_validator("addresses")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _all_networks(value)


class Scanners(Spec):
    """The security team's own scanners."""

    addresses: Seq[str] = Field(default=(), description="their addresses")
    hosts: Seq[str] = Field(default=(), description="their host names")


class Ties(Spec):
    """What makes one incident of several alerts."""

    model_from: Share = Field(description="confidence from which on a model's alert ties as a rule's does")
    infrastructure: Seq[str] = Field(default=(), description="hosts and addresses that everybody talks to")


class IncidentPolicy(Spec):
    """Rules of `incident_response`."""

    inside: Seq[str] = Field(min_length=1, description="the company's own networks; what is in none of them is outside")
    protected: Protected = Field(description="never blocked, isolated or disabled")
    scanners: Scanners = Field(description="whose scans are meant")
    ties: Ties = Field(description="what makes one incident of several alerts")
    bad_reputation: int = Field(ge=1, le=100, description="from this score on an indicator counts as bad")
    sure: Share = Field(description="confidence from which on something counts as sure")
    critical: int = Field(ge=1, le=5, description="criticality from which on a host counts as critical")
    watch_below: Share = Field(description="confidence below which an incident of low severity is watched only")
    security_team: str = Field(description="address that `notify` mails to")
    queue: str = Field(min_length=1, description="team that works the cases")
    priorities: dict[int, int] = Field(description="severity 1..5 -> priority of the case, 1 is first")

    @field_validator("inside")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _all_networks(value)

    @field_validator("security_team")
    @classmethod
    def _mail(cls, value: str) -> str:
        if not is_address(value):
            raise ValueError("should be one bare address, such as desk@example.org")
        return value

    @field_validator("priorities")
    @classmethod
    def _every_severity(cls, value: dict[int, int]) -> dict[int, int]:
        if set(value) != {1, 2, 3, 4, 5} or not set(value.values()) <= {1, 2, 3}:
            raise ValueError("needs each severity 1..5 once, with a priority 1..3")
        return value

    @property
    def declared(self) -> Declared:
        """The part that the correlation reads."""
        infrastructure = frozenset(one.lower() for one in self.ties.infrastructure)
        return Declared(frozenset(self.scanners.addresses), infrastructure, self.ties.model_from)

    def side(self, address: str) -> str | None:
        """`outside`, `inside` or `protected`; None for what is no address."""
        try:
            one = ipaddress.ip_address(address)
        except ValueError:
            return None
        if any(one in network for network in _networks(self.protected.addresses)):
            return PROTECTED
        if one.is_loopback or one.is_multicast or one.is_unspecified or one.is_link_local:
            return PROTECTED
        return INSIDE if any(one in network for network in _networks(self.inside)) else OUTSIDE


def _all_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no address or network: {error}") from error
    return value


@lru_cache(maxsize=32)
def _networks(texts: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def policy(path: Path = PATH) -> IncidentPolicy:
    """The rules.

    Raises:
        SpecError: the file is not there, no YAML, or breaks a rule; names line, field and what is allowed.
    """
    return read_policy(path, IncidentPolicy)
