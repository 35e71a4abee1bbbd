"""Messages that customers might write, seeded, with the truth; and what became of the replies.

Every message depends on the seed and its number only, so a longer simulation begins with the shorter one's messages.
What customers say is in `content/phrases/`: one file per team, patterns per intent; `later` patterns are what they
begin to say from the moment of a shift on (new product names and habits), when those intents also become more frequent.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from baton.errors import SourceError
from baton_demo.customer_experience.messages.customers import Customer, customers
from baton_demo.customer_experience.messages.phrasing import Slots, careless, parts, say, slots_of
from baton_packs.customer_experience.service.knowledge import CONTENT, intents, read

TRUTH = ["intent", "sentiment", "out_of_scope"]
OUT_OF_SCOPE = 0.05
PLANTED = 0.3  # share of texts in which customers give data of their own
LATER, MORE = 0.75, 2.5  # after a shift: share of new wording in the intents that have it; their weight

VALUES = {
    "merchant": (
        "Norwick Books", "the Lantern Cafe", "FlatpackHaus", "Gadgetonia", "Bluebird Airways", "the Corner Deli", "StreamBox",
        "Velo & Sons", "Marlow Pharmacy", "the Harbour Hotel", "Pixelmart", "Green Grocer Online",
    ),
    "country": (
        "Spain", "Japan", "Norway", "Brazil", "Turkey", "Poland", "Canada", "Italy", "Switzerland", "Australia", "Mexico",
        "Thailand", "Germany", "the US", "Ireland", "South Africa",
    ),
    "currency": ("euros", "US dollars", "yen", "Swiss francs", "zloty", "Swedish kronor", "Turkish lira", "rand", "AUD", "pounds"),
    "city": ("Lisbon", "Leeds", "Krakow", "Osaka", "Bergen", "Toronto", "Izmir", "Glasgow", "Milan", "Denver"),
    "days": ("two days", "3 days", "a week", "10 days", "five days", "a fortnight", "2 weeks", "24 hours"),
    "person": ("my landlord", "my sister", "a friend", "my brother", "the seller", "my mum", "my cousin", "our plumber"),
}  # fmt: skip
# action -> (outcome, probability), for a right and for a wrong understanding of the message
OUTCOMES: dict[tuple[str, bool], tuple[tuple[str, float], ...]] = {
    ("send", True): (("accepted", 0.95), ("reopened", 0.05)),
    ("send", False): (("reopened", 0.90), ("accepted", 0.10)),
    ("suggest", True): (("accepted", 0.78), ("edited", 0.20), ("rejected", 0.02)),
    ("suggest", False): (("rejected", 0.80), ("edited", 0.18), ("accepted", 0.02)),
    ("escalate", True): (("edited", 0.60), ("accepted", 0.30), ("rejected", 0.10)),
    ("escalate", False): (("rejected", 0.85), ("edited", 0.15)),
}
MEDIAN_SECONDS = {"send": 40.0, "suggest": 900.0, "escalate": 5400.0}


def _amount(rng: random.Random) -> str:
    value = rng.choice((5, 12, 20, 40, 75, 120, 250, 380, 900)) + (
        rng.randrange(100) / 100 if rng.random() < 0.3 else 0
    )
    plain = f"{value:.2f}" if value % 1 else f"{value:.0f}"
    return rng.choice((f"£{plain}", f"{plain} euros", f"${plain}", f"{plain} pounds", f"{plain} EUR"))


def _one_of(values: Sequence[str]) -> Callable[[random.Random], str]:
    return lambda rng: values[int(rng.random() * len(values))]


SLOTS: Slots = {"amount": _amount, **{name: _one_of(values) for name, values in VALUES.items()}}


@cache
def phrases(folder: Path = CONTENT / "phrases") -> dict[str, dict[str, list[str]]]:
    """intent -> {"phrases": patterns, "later": patterns}; every intent of the routing table has phrases.

    Raises:
        SourceError: an intent without phrases or unknown, or a pattern that cannot be read; names file and intent.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted(folder.glob("*.yaml")):
        if file.stem in {"around", "out_of_scope"}:
            continue
        for intent, wordings in read(file).items():
            for pattern in [*wordings["phrases"], *wordings.get("later", [])]:
                _check(pattern, SLOTS, f"{file.name}: {intent}")
            found[intent] = {"phrases": wordings["phrases"], "later": wordings.get("later", [])}
    if odd := set(found) ^ set(intents()):
        raise SourceError(
            f"{folder}: intents.yaml and the phrases do not name the same intents: {', '.join(sorted(odd))}"
        )
    return found


@cache
def _surroundings() -> tuple[dict[str, Any], list[str]]:
    around, elsewhere = read(CONTENT / "phrases" / "around.yaml"), read(CONTENT / "phrases" / "out_of_scope.yaml")
    for pattern in elsewhere:
        _check(pattern, SLOTS, "out_of_scope.yaml")
    return around, elsewhere


def _check(pattern: str, slots: Mapping[str, Any], where: str) -> None:
    try:
        parts(pattern)
    except ValueError as error:
        raise SourceError(f"content/phrases/{where}: {error}; correct the pattern") from None
    if unknown := slots_of(pattern) - set(slots):
        raise SourceError(f"content/phrases/{where}: slot {sorted(unknown)} is not one of {sorted(slots)}")


def simulate(
    n: int,
    seed: int,
    start: datetime,
    step: timedelta,
    mix: Mapping[str, float] | None = None,
    shift: datetime | None = None,
) -> pd.DataFrame:
    """n messages, one per `step` from `start` on, with the truth about each.

    Args:
        start: UTC; message i is received within the i-th step after it.
        mix: intent -> weight of its frequency; those not named weigh 1, 0 leaves one out.
        shift: from this moment on customers talk about new products in a new way; None: never.

    Returns:
        message_id (20 hex), customer, address, account, received_at (UTC, ascending), channel (chat, mail, app), text;
        truth: intent ("" out of scope), sentiment (negative, neutral, positive), out_of_scope (bool).

    Raises:
        SourceError: `mix` names no intent of the routing table, or every weight is 0.
    """
    said, names = phrases(), list(intents())
    if unknown := set(mix or {}) - set(names):
        raise SourceError(f"mix: no such intent: {', '.join(sorted(unknown))}; intents.yaml has their names")
    before = [float((mix or {}).get(name, 1.0)) for name in names]
    after = [weight * (MORE if said[name]["later"] else 1.0) for name, weight in zip(names, before, strict=True)]
    if sum(before) <= 0:
        raise SourceError("mix: every intent has weight 0; give at least one more than that")
    begin, turn = _utc(start), None if shift is None else _utc(shift)
    rows = []
    for i in range(n):
        rng = random.Random(f"{seed}/{i}")
        moment = begin + (i + rng.random()) * pd.Timedelta(step)
        later = turn is not None and moment >= turn
        intent = "" if rng.random() < OUT_OF_SCOPE else rng.choices(names, after if later else before)[0]
        person = rng.choice(customers())
        text, sentiment = _text(intent, later, person, rng)
        rows.append({
            "message_id": hashlib.sha256(f"{seed}/{i}/{begin.isoformat()}".encode()).hexdigest()[:20],
            "customer": person.name, "address": person.mail, "account": person.account, "received_at": moment.floor("s"),
            "channel": rng.choices(("chat", "app", "mail"), (5, 3, 2))[0], "text": text,
            "intent": intent, "sentiment": sentiment, "out_of_scope": intent == "",
        })  # fmt: skip
    columns = ["message_id", "customer", "address", "account", "received_at", "channel", "text", *TRUTH]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"received_at": "datetime64[ns, UTC]", "out_of_scope": bool})


def _utc(moment: datetime) -> pd.Timestamp:
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def _text(intent: str, later: bool, person: Customer, rng: random.Random) -> tuple[str, str]:
    """What one customer writes, and in which mood."""
    around, elsewhere = _surroundings()
    if intent:
        known = phrases()[intent]
        new = later and known["later"] and rng.random() < LATER
        core = say(rng.choice(known["later"] if new else known["phrases"]), SLOTS, rng)
        negative = (0.45, 0.3, 0.18)[intents()[intent].priority - 1]
    else:
        core, negative = say(rng.choice(elsewhere), SLOTS, rng), 0.1
    draw = rng.random()
    sentiment = "negative" if draw < negative else "positive" if draw < negative + 0.13 else "neutral"
    tone = around[sentiment]
    before, after = rng.choice(tone["before"]), rng.choice(tone["after"])
    if sentiment != "neutral":  # the mood shows at one end at least
        before, after = rng.choice(((before, ""), ("", after), (before, after)))
    core = careless(core, rng)
    if before.endswith(", ") and not re.match(r"I\b|[A-Z]{2}", core):
        core = core[:1].lower() + core[1:]
    text = (say(before, {}, rng) + " " if before else "") + core
    if after:
        text += ("" if text[-1] in "?.!" else ".") + " " + say(after.strip(), {}, rng)
    if rng.random() < PLANTED:
        own: Slots = {
            "name": lambda _: person.name, "mail": lambda _: person.mail, "account": lambda _: person.account,
            "phone": lambda _: person.phone, "street": lambda _: person.street,
        }  # fmt: skip
        text += ("" if text[-1] in "?.!" else ".") + " " + say(rng.choice(around["given"]).strip(), own, rng)
    return text, sentiment


def outcomes(messages: pd.DataFrame, decisions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What people made of the replies: the customers who answered back, the agents who corrected.

    Args:
        messages: as `simulate` makes them, with the truth.
        decisions: message_id, route (send, suggest, escalate), intent (as understood; "" not sure or out of scope).

    Returns:
        One row per decision: message_id, outcome (accepted, edited, rejected, reopened), intent (the true one, as the
        agent who closed the message set it; "" out of scope), at (UTC), reply_seconds (until the first reply).

    Raises:
        SourceError: a decision about a message that is not there, or with an unknown route.
    """
    truth = {row[0]: row[1:] for row in messages[["message_id", "intent", "received_at"]].itertuples(index=False)}
    if missing := set(decisions["message_id"]) - set(truth):
        raise SourceError(
            f"outcomes: {len(missing)} decisions are about messages that are not there; pass their messages"
        )
    if odd := set(decisions["route"]) - set(MEDIAN_SECONDS):
        raise SourceError(f"outcomes: route must be one of {', '.join(MEDIAN_SECONDS)}, found {sorted(odd)}")
    rows = []
    for message, route, understood in decisions[["message_id", "route", "intent"]].itertuples(index=False):
        rng = random.Random(f"{seed}/{message}")
        intent, received = truth[message]
        right = intent == (understood if isinstance(understood, str) else "")
        kinds, weights = zip(*OUTCOMES[route, right], strict=True)
        outcome = rng.choices(kinds, weights)[0]
        seconds = round(MEDIAN_SECONDS[route] * rng.lognormvariate(0.0, 0.6), 1)
        closed = seconds + (rng.uniform(4, 60) * 3600 if outcome == "reopened" else rng.uniform(60, 1800))
        moment = (received + pd.Timedelta(seconds=closed)).floor("s")
        rows.append((message, outcome, intent, moment, seconds))
    frame = pd.DataFrame(rows, columns=["message_id", "outcome", "intent", "at", "reply_seconds"])
    return frame.astype({"at": "datetime64[ns, UTC]", "reply_seconds": float})
