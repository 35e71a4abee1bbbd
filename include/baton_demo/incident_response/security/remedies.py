"""What the actions do: addresses at the firewall; accounts, keys and hosts in the directory; tickets.

Each answer says what was so `before` and `after`, and whether the action `changed` anything.
"""

import ipaddress
from collections.abc import Callable
from typing import Any

from baton_demo.incident_response import company
from baton_demo.incident_response.security.book import ActionBook, State, StateSheet
from baton_demo.json_service import RequestRefused

_OWN = ("action_id", "key", "at", "before", "after", "changed", "ticket")  # fields of an answer beside the request's


def checked(part: str, body: Any) -> State:
    """A valid request for an action of a part.

    Raises:
        RequestRefused: 422 with the field and what it must be.
    """
    if not isinstance(body, dict):
        raise RequestRefused(422, "an action is a JSON object")
    if own := [name for name in _OWN if name in body]:
        raise RequestRefused(422, f"{own[0]} is given by this service, leave it out")
    for name in ("action", "target"):
        if not isinstance(body.get(name), str) or not body[name].strip():
            raise RequestRefused(422, f"{name}: a text is needed")
    if body["action"] not in ACTIONS[part]:
        raise RequestRefused(422, f"action {body['action']!r}: {part} knows {', '.join(ACTIONS[part])}")
    return body


def act(book: ActionBook, part: str, key: str, body: State) -> tuple[bool, State]:
    """Carry out a checked action, once under its key; returns whether it is new, and the answer.

    Raises:
        RequestRefused: 409 another content under the key; 422 there is no such target.
    """
    work = ACTIONS[part][body["action"]]
    return book.act(part, key, body, lambda sheet: work(sheet, body))


# --- the firewall -------------------------------------------------------------------------------------------------


def address_state(book: ActionBook, address: str) -> State:
    """{"address", "blocked"}.

    Raises:
        RequestRefused: 404, that is no address.
    """
    return book.look("firewall", _address(address, 404)) or {"address": _address(address, 404), "blocked": False}


def _blocking(blocked: bool) -> Callable[[StateSheet, State], State]:
    def work(sheet: StateSheet, body: State) -> State:
        address = _address(body["target"], 422)
        before = sheet.get(address) or {"address": address, "blocked": False}
        return _kept(sheet, address, before, {**before, "blocked": blocked})

    return work


def _address(text: str, status: int) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise RequestRefused(status, f"target: {text!r} is no IP address") from error


# --- the directory ------------------------------------------------------------------------------------------------


def account_state(book: ActionBook, name: str) -> State:
    """{"account", "disabled", "key_version"}.

    Raises:
        RequestRefused: 404, there is no such account.
    """
    return book.look("directory", f"account {name}") or _fresh_account(name, 404)


def host_state(book: ActionBook, name: str) -> State:
    """{"host", "isolated"}.

    Raises:
        RequestRefused: 404, there is no such host.
    """
    return book.look("directory", f"host {name}") or _fresh_host(name, 404)


def _fresh_account(name: str, status: int) -> State:
    user = company.users().get(name)
    if user is None:
        raise RequestRefused(status, f"there is no account {name!r}")
    return {"account": name, "disabled": user.disabled, "key_version": 1}


def _fresh_host(name: str, status: int) -> State:
    if name not in company.hosts():
        raise RequestRefused(status, f"there is no host {name!r}")
    return {"host": name, "isolated": False}


def _account(change: Callable[[State, State], State]) -> Callable[[StateSheet, State], State]:
    def work(sheet: StateSheet, body: State) -> State:
        thing = f"account {body['target']}"
        before = sheet.get(thing) or _fresh_account(body["target"], 422)
        return _kept(sheet, thing, before, {**before, **change(before, body)})

    return work


def _isolating(isolated: bool) -> Callable[[StateSheet, State], State]:
    def work(sheet: StateSheet, body: State) -> State:
        thing = f"host {body['target']}"
        before = sheet.get(thing) or _fresh_host(body["target"], 422)
        return _kept(sheet, thing, before, {**before, "isolated": isolated})

    return work


def _restored(before: State, body: State) -> State:
    """The key before the newest one, or the version that the request names."""
    version = body.get("key_version", before["key_version"] - 1)
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= before["key_version"]:
        raise RequestRefused(422, f"{body['target']} has no key of version {version!r} to go back to")
    return {"key_version": version}


# --- tickets ------------------------------------------------------------------------------------------------------


def ticket_state(book: ActionBook, number: str) -> State:
    """{"ticket", "state", "subject", "target"}.

    Raises:
        RequestRefused: 404, there is no such ticket.
    """
    found = book.look("tickets", number)
    if found is None:
        raise RequestRefused(404, f"there is no ticket {number!r}")
    return found


def _open_ticket(sheet: StateSheet, body: State) -> State:
    ticket = f"T-{sheet.number:06d}"
    after = {
        "ticket": ticket,
        "state": "open",
        "target": body["target"],
        "subject": str(body.get("subject") or body.get("title") or "")[:300],
    }
    sheet.put(ticket, after)
    return {"ticket": ticket, "before": None, "after": after, "changed": True}


def _close_ticket(sheet: StateSheet, body: State) -> State:
    """`target`: the ticket's number, or what it was opened for (the newest open one)."""
    target = body["target"]
    known = sheet.get(target)
    ticket = target if known else sheet.newest("T-", lambda one: one["target"] == target and one["state"] == "open")
    before = sheet.get(ticket) if ticket else None
    if ticket is None or before is None:
        raise RequestRefused(422, f"target: there is no ticket {target!r}, and none is open for it")
    return {"ticket": ticket, **_kept(sheet, ticket, before, {**before, "state": "closed"})}


def _kept(sheet: StateSheet, thing: str, before: State, after: State) -> State:
    if after != before:
        sheet.put(thing, after)
    return {"before": before, "after": after, "changed": after != before}


ACTIONS: dict[str, dict[str, Callable[[StateSheet, State], State]]] = {
    "firewall": {"block_address": _blocking(True), "unblock_address": _blocking(False)},
    "directory": {
        "disable_account": _account(lambda before, body: {"disabled": True}),
        "enable_account": _account(lambda before, body: {"disabled": False}),
        "isolate_host": _isolating(True),
        "release_host": _isolating(False),
        "rotate_key": _account(lambda before, body: {"key_version": before["key_version"] + 1}),
        "restore_key": _account(_restored),
    },
    "tickets": {"open_ticket": _open_ticket, "close_ticket": _close_ticket},
}
