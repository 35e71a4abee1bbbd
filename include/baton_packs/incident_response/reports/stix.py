"""An incident as a STIX 2.1 bundle: what was seen, by which technique, what was done about it. The same incident, the same ids."""

from __future__ import annotations

import ipaddress
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from baton.errors import BatonError
from baton_packs.incident_response.incidents.decide import RESOLUTIONS
from baton_packs.incident_response.incidents.policy import OUTSIDE, policy

_NAMESPACE = uuid.UUID("5f0b1a9c-8a3d-5c56-9d0e-0c7f3c1f6a52")  # ours, so that ids are the same on every machine
MOST = 100  # objects of a kind
OWNER = "Baton incident response"


def bundle(decision: Mapping[Any, Any], actions: Iterable[Mapping[Any, Any]] = (), verdict: str | None = None) -> str:
    """The bundle as JSON text.

    Args:
        decision: a row of `decide`.
        actions: rows of `verify` or `respond` about it: action, target, state (or none), sent_at.
        verdict: what a person answered on its case; a false positive has no indicators.

    Raises:
        BatonError: the verdict is none.
    """
    import stix2

    if verdict is not None and verdict not in RESOLUTIONS:
        raise BatonError(f"verdict {verdict!r}: there are {', '.join(RESOLUTIONS)}")
    alerts = json.loads(decision["alerts"])
    first, last = _moment(decision["first_seen"]), _moment(decision["last_seen"])
    stamp = {"created": last, "modified": last}
    owner = stix2.Identity(
        id=_id("identity", OWNER), name=OWNER, identity_class="system", created=_EPOCH, modified=_EPOCH
    )
    mark = {**stamp, "created_by_ref": owner.id}
    seen = _observables(stix2, decision)
    patterns = [_technique(stix2, one, mark) for one in json.loads(decision["techniques"])[:MOST]]
    found: list[Any] = [owner, *seen, *patterns]
    incident = str(decision["incident_id"])
    if marks := [one.id for one in seen if one.type != "identity"]:
        count = max(1, min(int(decision["alerts_total"]), 999_999_999))
        found.append(stix2.ObservedData(
            id=_id("observed-data", incident), first_observed=first, last_observed=last, number_observed=count,
            object_refs=marks, **mark,
        ))  # fmt: skip
    if verdict not in ("false_positive", "benign"):
        indicators = [_indicator(stix2, name, decision, alerts, mark) for name in _outside(decision)]
        found += indicators
        for one in indicators:
            found += [_link(stix2, one.id, "indicates", pattern.id, mark) for pattern in patterns]
    for action in _told(actions):
        remedy = _remedy(stix2, action, mark)
        found.append(remedy)
        found += [_link(stix2, remedy.id, "mitigates", pattern.id, mark) for pattern in patterns]
    refs = [one.id for one in found if one.id != owner.id] or [owner.id]
    labels = [
        f"severity-{int(decision['severity_id'])}",
        f"playbook-{decision['playbook']}",
        *([f"verdict-{verdict}"] if verdict else []),
    ]
    found.append(stix2.Report(
        id=_id("report", incident), name=str(decision["title"])[:250], description=" ".join(json.loads(decision["reasons"]))[:4000],
        report_types=["threat-report" if verdict == "true_positive" else "observed-data"], published=last, object_refs=refs,
        labels=labels, **mark,
    ))  # fmt: skip
    unique = {one.id: one for one in found}
    made = stix2.Bundle(objects=list(unique.values()), id=_id("bundle", incident), allow_custom=False)
    return str(made.serialize(pretty=True)) + "\n"


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def _id(kind: str, *names: str) -> str:
    return f"{kind}--{uuid.uuid5(_NAMESPACE, json.dumps([kind, *names]))}"


def _moment(value: Any) -> datetime:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    plain = found.to_pydatetime() if hasattr(found, "to_pydatetime") else found
    return plain if plain.tzinfo is not None else plain.replace(tzinfo=UTC)


def _observables(stix2: Any, decision: Mapping[Any, Any]) -> list[Any]:
    addresses, users, hosts = (json.loads(decision[name])[:MOST] for name in ("addresses", "users", "hosts"))
    found = []
    for text in addresses:
        kind = _kind(text)
        if kind is not None:
            found.append(
                (stix2.IPv4Address if kind == "ipv4-addr" else stix2.IPv6Address)(id=_id(kind, text), value=text)
            )
    found += [stix2.UserAccount(id=_id("user-account", one), account_login=one) for one in users]
    # a host without a domain is no domain name; STIX has no other object for a machine of one's own than its identity
    found += [
        stix2.Identity(
            id=_id("identity", "host", one), name=one, identity_class="system", created=_EPOCH, modified=_EPOCH
        )
        for one in hosts
    ]
    return found


def _kind(text: str) -> str | None:
    try:
        return f"ipv{ipaddress.ip_address(text).version}-addr"
    except ValueError:
        return None


def _outside(decision: Mapping[Any, Any]) -> list[str]:
    """Addresses outside from which, or to which, the findings go."""
    rules = policy()
    return [one for one in json.loads(decision["addresses"])[:MOST] if rules.side(one) == OUTSIDE]


def _indicator(
    stix2: Any, name: str, decision: Mapping[Any, Any], alerts: Sequence[Mapping[str, Any]], mark: Mapping[str, Any]
) -> Any:
    about = sorted({str(one["title"]) for one in alerts if name in (one.get("src_ip"), one.get("dst_ip"))})
    return stix2.Indicator(
        id=_id("indicator", str(decision["incident_id"]), name), name=f"Address {name}", description="; ".join(about)[:1000] or "Took part",
        indicator_types=["malicious-activity"], pattern=f"[{_kind(name)}:value = '{name}']", pattern_type="stix",
        valid_from=_moment(decision["first_seen"]), confidence=round(100 * float(decision["confidence"])), **mark,
    )  # fmt: skip


def _technique(stix2: Any, technique: str, mark: Mapping[str, Any]) -> Any:
    url = f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}/"
    reference = stix2.ExternalReference(source_name="mitre-attack", external_id=technique, url=url)
    return stix2.AttackPattern(id=_id("attack-pattern", technique), name=technique, external_references=[reference],
                               created=_EPOCH, modified=_EPOCH, created_by_ref=mark["created_by_ref"])  # fmt: skip


def _told(actions: Iterable[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """What was done, or is to be: not what was passed over or taken out of the plan."""
    return [one for one in actions if not one.get("skipped") and one.get("state") != "withdrawn"][:MOST]


def _remedy(stix2: Any, action: Mapping[Any, Any], mark: Mapping[str, Any]) -> Any:
    state = str(action.get("state") or action.get("level") or "planned")
    undone = ", taken back" if bool(action.get("undone")) else ""
    return stix2.CourseOfAction(
        id=_id("course-of-action", str(action["incident_id"]), str(action["action"]), str(action["target"])),
        name=f"{action['action']} {action['target']}"[:250], description=f"State: {state}{undone}", **mark,
    )  # fmt: skip


def _link(stix2: Any, source: str, how: str, target: str, mark: Mapping[str, Any]) -> Any:
    return stix2.Relationship(
        id=_id("relationship", source, how, target), relationship_type=how, source_ref=source, target_ref=target, **mark
    )
