"""The look-ups: what is known of addresses and domains outside, of hosts, of users."""

from baton_demo.incident_response import company
from baton_demo.incident_response.security import remedies
from baton_demo.incident_response.security.book import ActionBook, State
from baton_demo.json_service import RequestRefused


def reputation(book: ActionBook, indicator: str) -> State:
    """{"indicator", "score" 0..100 (100 worst), "categories"}.

    Raises:
        RequestRefused: 404, nothing is known of it.
    """
    found = company.outside().get(indicator.lower())
    if found is None:  # what lies below a known domain is as that is
        parents = [indicator.lower().split(".", cut)[-1] for cut in range(1, indicator.count(".") + 1)]
        found = next((company.outside()[name] for name in parents if name in company.outside()), None)
    if found is None:
        raise RequestRefused(404, f"nothing is known of {indicator!r}")
    return {"indicator": indicator, "score": found.score, "categories": list(found.categories)}


def asset(book: ActionBook, host: str) -> State:
    """{"host", "asset_class", "owner", "criticality" 1..5, "address", "roles"}, by name or address.

    Raises:
        RequestRefused: 404, there is no such host.
    """
    found = next((one for one in company.hosts().values() if host in (one.name, one.address)), None)
    if found is None:
        raise RequestRefused(404, f"there is no host {host!r}")
    return {
        "host": found.name, "asset_class": found.asset_class, "owner": found.owner, "criticality": found.criticality,
        "address": found.address, "roles": list(found.roles),
    }  # fmt: skip


def user(book: ActionBook, name: str) -> State:
    """{"user", "department", "privileged", "disabled"}; the last as the directory has it now.

    Raises:
        RequestRefused: 404, there is no such user.
    """
    found = company.users().get(name)
    if found is None:
        raise RequestRefused(404, f"there is no user {name!r}")
    disabled = remedies.account_state(book, name)["disabled"]
    return {"user": name, "department": found.department, "privileged": found.privileged, "disabled": disabled}


LOOK_UPS = {"reputation": reputation, "assets": asset, "users": user}
