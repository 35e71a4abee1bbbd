"""Personal data of 1,000 planted people that reach a model server, XCom, logs, MLflow, ledger or a journal: none may.

    python tests/bench/bench_privacy.py [seed]

Each person writes one message to the flow `customer_experience`: its stages decide, draft (the agent `CUSTOMER_REPLY`
over HTTP), compose and place run as tasks run them, with the intents and entries given. A scripted server records every
request; its drafts are taken from the entries, but first, three times of ten, it says what it read back, repeats every
placeholder, or invents a mail address, so that refusals and redrafts are measured too. Name, mail address and account
are known, as a customer's row has them; phone number and postal address stand in the text alone. All are written in many
ways: case, order, accents apart, spaces, dashes, national prefixes, "(at)". A person counts as reached if any of the
values, in the writing that was planted or squeezed to letters and digits, or the surname as a word, is found in any place.

The dataset store and the outbox hold names and addresses by design, they are what is sent: no places of the count.

A first run, with a small generic agent, found 34 of 1,000 (letters such as ø and ł that no normal form takes apart,
French streets without a comma); the patterns were mended for it, so that the figure is no blind test of writings that
nobody has thought of.

The peer is what is often done: regular expressions for mail, phone, account and card, on the same messages and facts. A
second figure has no target: people other than the customer, named in the text only, found by a small model or not at all.
"""

from __future__ import annotations

import json
import random
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from agent_bench import Bench, question, report, shown, workbench

from baton.settings import settings
from baton.stages.journal import Journal
from baton_packs.customer_experience.service import knowledge

FLOW = "customer_experience"
PEOPLE, STRANGERS = 1_000, 300
FIRST = ["Aaliyah", "Björn", "Chloé", "Dmitri", "Eleanor", "François", "Gülay", "Hiroshi", "Ingeborg", "João", "Katarzyna", "Lorenzo", "Małgorzata", "Nikolaos", "Oisín", "Priyanka", "Quentin", "Rosalía", "Søren", "Tomáš", "Ulrike", "Valentina", "Wojciech", "Xiomara", "Yevgenia", "Zoltán", "Abigail", "Bartholomew", "Cordelia", "Desmond", "Evangeline", "Fitzgerald", "Guinevere", "Hamish", "Isolde", "Jedediah", "Keziah", "Leopold", "Marguerite", "Nathaniel"]  # fmt: skip
LAST = ["Abernathy", "Bjørnstad", "Castañeda", "Dąbrowski", "Etxeberria", "Fitzwilliam", "Größmann", "Hernández", "Ibáñez", "Jørgensen", "Kowalczyk", "Lefèvre", "Müller-Thurgau", "Nakamura", "O'Shaughnessy", "Papadopoulos", "Quattrocchi", "Rasmussen", "Szczepański", "Tchaikovsky", "Ünlü", "Vandenberghe", "Wojtkiewicz", "Xanthopoulos", "Yamashita", "Zimmermann", "Ashworth", "Bickerstaff", "Cholmondeley", "Drinkwater", "Entwistle", "Fotheringham", "Grosvenor", "Higginbotham", "Inglethorpe", "Jellicoe", "Kirkbride", "Lamborghini", "Mainwaring", "Netherton"]  # fmt: skip
STREETS = ("{n} Alderbrook Road", "{n} Whitmore Street", "{n} Quarrydale Avenue", "Lindenstraße {n}", "Am Mühlenweg {n}",
           "{n} rue des Tilleuls", "Calle Serranía {n}", "Flat 4, {n} Harrowgate Lane", "{n} Foxglove Crescent")  # fmt: skip
PLACES = ("Cambridge CB{a} {b}XY", "10{a}15 Berlin", "750{a}{b} Paris", "280{a}{b} Madrid", "Leeds LS{a} {b}QT")
SENTENCES = (
    "Hello, my name is {name} and I am waiting for a transfer.", "This is {name}, I live at {address}.",
    "Please write to {mail} when it is done.", "You can call me on {phone} after six.", "My account {account} was charged twice.",
    "The card ending has changed, my account is still {account}.", "My number is {phone}, my address {address}.",
    "I wrote from {mail} on 2026-11-02 about 1,250.00 EUR and nobody answered.", "Regards, {name}", "Thanks\n{name}\n{address}\n{phone}",
)  # fmt: skip
STRANGER = (
    "My husband {name} paid it.",
    "I spoke to {name} in your branch.",
    "Send it to {name}, please.",
    "{name} told me so.",
)
SHORTEST = 7  # characters of a value that is looked for
FIELDS = ("name", "mail", "phone", "account", "address")
PEER = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+|\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b|\b(?:\d[ -]?){13,16}\b|\+?\d[\d -]{8,}\d")


def people(seed: int, count: int) -> pd.DataFrame:
    """Messages with planted people: message_id, name, mail, phone, account, address, text, `planted` (JSON list)."""
    rng = random.Random(seed)
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], count)
    return pd.DataFrame([_message(rng, number, name) for number, name in enumerate(names)])


def _message(rng: random.Random, number: int, name: str) -> dict[str, Any]:
    plain = re.sub(r"[^a-z]", ".", _folded(name).lower())
    place = rng.choice(PLACES).format(a=rng.randint(1, 9), b=rng.randint(1, 9))
    person = {
        "name": name, "mail": f"{plain}{number}@mail{rng.randint(1, 99)}.example", "phone": _phone(rng), "account": _iban(rng),
        "address": f"{rng.choice(STREETS).format(n=rng.randint(2, 299))}, {place}",
    }  # fmt: skip
    planted: list[str] = []

    def written(match: re.Match[str]) -> str:
        text = WRITINGS[match[1]](rng, person[match[1]])
        planted.append(text)
        return text

    wanted = [*rng.sample(SENTENCES, 6), *(f"Again: {{{one}}}." for one in FIELDS)]
    text = re.sub(r"\{(\w+)\}", written, " ".join(wanted))
    return {"message_id": f"m{number:04d}", **person, "text": text, "planted": json.dumps(planted)}


def _iban(rng: random.Random) -> str:
    country, shape = rng.choice(
        (("DE", "d" * 18), ("GB", "NWBK" + "d" * 14), ("FR", "d" * 23), ("NL", "ABNA" + "d" * 10), ("ES", "d" * 20))
    )
    basic = "".join(str(rng.randint(0, 9)) if one == "d" else one for one in shape)
    digits = "".join(str(int(one, 36)) for one in f"{basic}{country}00")
    return f"{country}{98 - int(digits) % 97:02d}{basic}"


def _phone(rng: random.Random) -> str:
    code, groups = rng.choice(
        (("+44", (4, 3, 3)), ("+49", (3, 4, 4)), ("+33", (1, 2, 2, 2, 2)), ("+1", (3, 3, 4)), ("+34", (3, 3, 3)))
    )
    return " ".join([code, *(str(rng.randint(10 ** (size - 1), 10**size - 1)) for size in groups)])


def _name(rng: random.Random, name: str) -> str:
    first, _, last = name.partition(" ")
    return rng.choice([
        name, name.upper(), name.lower(), f"{last}, {first}", f"Mrs {last}", f"{first[0]}. {last}", f"{first}  {last}",
        unicodedata.normalize("NFD", name), _folded(name), f"{first[:3]}\u200b{first[3:]} {last}", f"{last.upper()} {first}",
    ])  # fmt: skip


def _mail(rng: random.Random, mail: str) -> str:
    return rng.choice([mail, mail.upper(), mail.replace("@", " @ "), mail.replace("@", " (at) "), f"<{mail}>"])


def _called(rng: random.Random, phone: str) -> str:
    code, _, rest = phone.partition(" ")
    national = f"0{rest}"
    return rng.choice([
        phone, phone.replace(" ", ""), phone.replace(" ", "-"), f"00{code[1:]} {rest}", national, national.replace(" ", ""),
        f"{code} (0){rest}", national.replace(" ", "."), f"({national.partition(' ')[0]}) {national.partition(' ')[2]}",
    ])  # fmt: skip


def _account(rng: random.Random, account: str) -> str:
    groups = re.findall(".{1,4}", account)
    return rng.choice(
        [account, account.lower(), " ".join(groups), "-".join(groups), " ".join(groups).lower(), ".".join(groups)]
    )


def _address(rng: random.Random, address: str) -> str:
    return rng.choice(
        [
            address,
            address.replace(", ", ",\n"),
            address.replace(",", ""),
            address.split(", ")[0] if "Flat" not in address else address,
        ]
    )


WRITINGS = {"name": _name, "mail": _mail, "phone": _called, "account": _account, "address": _address}


def _folded(text: str) -> str:
    kept = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("ø", "o").replace("ł", "l").replace("Ł", "L"))
    return "".join(one for one in kept if unicodedata.category(one) not in ("Mn", "Cf"))


def squeezed(text: str) -> str:
    """Letters and digits, folded: what two writings of a value have in common."""
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    return re.sub(r"[^a-z0-9]", "", _folded(unescaped.replace("\\n", " ")).lower())


def needles(row: dict[str, Any]) -> set[str]:
    """What must not be found: each value as planted, and its bare form; the street alone; the last eight digits."""
    values = [*json.loads(row["planted"]), *(row[name] for name in FIELDS if name in row)]
    if "address" in row:
        values.append(next(part for part in row["address"].split(", ") if len(part) > 8))
    found = {squeezed(value) for value in values}
    if "phone" in row:
        found.add(re.sub(r"\D", "", row["phone"])[-8:])
    return {one for one in found if len(one) >= SHORTEST}


def surname(row: dict[str, Any]) -> re.Pattern[str]:
    """The last name as a word."""
    return re.compile(rf"(?<![a-z]){re.escape(_folded(row['name'].partition(' ')[2]).lower())}(?![a-z])")


def reached(rows: pd.DataFrame, text: str) -> set[str]:
    """Whose data are in a text."""
    plain, bare = _folded(text).lower(), squeezed(text)
    names = {row["name"].partition(" ")[2] for row in rows.to_dict("records")}
    seen = {one for one in names if surname({"name": f" {one}"}).search(plain)}
    begin: dict[str, list[tuple[str, str]]] = defaultdict(list)  # one pass over the text for all values
    for row in rows.to_dict("records"):
        for needle in needles({str(name): value for name, value in row.items()}):
            begin[needle[:SHORTEST]].append((needle, row["message_id"]))
    found = {row["message_id"] for row in rows.to_dict("records") if row["name"].partition(" ")[2] in seen}
    for place in range(len(bare) - SHORTEST + 1):
        for needle, who in begin.get(bare[place : place + SHORTEST], ()):
            if bare.startswith(needle, place):
                found.add(who)
    return found


def messages(rows: pd.DataFrame) -> pd.DataFrame:
    """The people as the frame *messages* has them."""
    return pd.DataFrame({
        "message_id": rows["message_id"], "customer": rows["name"], "address": rows["mail"], "account": rows["account"],
        "received_at": pd.Timestamp("2026-11-20T00:10:00Z"), "channel": "mail", "text": rows["text"],
    })  # fmt: skip


def said(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What models and retrieval say of the messages: intent, sentiment, found; half are sent, half suggested."""
    table = knowledge.intents()
    entries = [one for one in knowledge.entries() if one.intent in table and not table[one.intent].regulated]
    intents, found = [], []
    for number, key in enumerate(rows["message_id"]):
        near = [entries[(number + step) % len(entries)] for step in range(3)]
        score = 0.9 if number % 2 else 0.5
        intents.append({"entity_key": key, "category": near[0].intent, "score": score, "accepted": True,
                        "reasons": json.dumps([[near[0].intent, score]])})  # fmt: skip
        listed = [
            {"entry": one.id, "title": one.title, "score": round(0.8 / (1 + at), 2)} for at, one in enumerate(near)
        ]
        found.append({"message_id": key, "entries": json.dumps(listed), "best": near[0].id, "best_score": 0.8,
                      "answer": near[0].answer})  # fmt: skip
    mood = {"entity_key": rows["message_id"], "category": "neutral", "score": 0.9}
    return {"intent": pd.DataFrame(intents), "sentiment": pd.DataFrame(mood), "found": pd.DataFrame(found)}


def answer(body: dict[str, Any]) -> Any:
    """A draft from the entries; three times of ten first one that says what it may not."""
    facts, data = shown(body)
    says = re.findall(r"[A-Z][^.!?]{15,190}\.", facts["entries"]["A"])
    good = {"text": " ".join(says[:2]) or "Thank you for your question.", "cites": ["A"]}
    wish = sum(map(ord, question(body).split("\n\nYOUR DRAFT")[0])) % 10
    if _again(body):
        return good
    bad = {
        0: f"Dear {', '.join(re.findall(r'[[][A-Z]+_[0-9]+[]]', data['message']))}, it is on its way.",
        1: "Please write to somebody.else@elsewhere.example about it.",
        2: re.sub(r"[^\w ,]", " ", f"Thank you for {data['message']}")[:190] + ".",
    }
    return good | {"text": bad[wish]} if wish in bad else good


def _again(body: dict[str, Any]) -> bool:
    """Is it a retry or a redraft?"""
    return any(message["role"] == "assistant" for message in body["messages"]) or "YOUR DRAFT" in question(body)


@contextmanager
def journal() -> Iterator[list[str]]:
    """What the run's journal held when the stage was done: it is removed then."""
    kept: list[str] = []
    clear = Journal.clear

    def looked_at(self: Journal) -> None:
        kept.extend(path.read_text(encoding="utf-8") for path in (settings().home / "store").rglob("journal/*.json"))
        clear(self)

    Journal.clear = looked_at  # type: ignore[method-assign]
    try:
        yield kept
    finally:
        Journal.clear = clear  # type: ignore[method-assign]


def through(bench: Bench, rows: pd.DataFrame) -> Any:
    """Result of the stage that asks the agent; the others are in the workbench."""
    bench.server.always = answer
    refs = {
        name: bench.receive(FLOW, name, frame) for name, frame in (said(rows) | {"messages": messages(rows)}).items()
    }
    decided = bench.stage(FLOW, "decide", "service.stages:decide", refs).ref
    given = {"decisions": decided, "messages": refs["messages"], "found": refs["found"]}
    drafts = bench.advise(FLOW, "service.agent:CUSTOMER_REPLY", given)
    composed = bench.stage(
        FLOW, "compose", "service.stages:compose", {"decisions": decided, "found": refs["found"], "drafts": drafts.ref}
    )
    bench.stage(FLOW, "reply", "letters.replies:place", {"decisions": composed.ref})
    return drafts


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Both figures; the places of the first are in its JSON."""
    from baton.record import ledger

    rows = people(seed, PEOPLE)
    with workbench() as bench, journal() as kept:
        facts = through(bench, rows).facts
        mails = bench.mails(FLOW)
        asked = [json.dumps(body, ensure_ascii=False) for body in bench.server.requests]
        texts = {
            "model server": "\n".join(asked), "xcom": "\n".join(bench.handed_on), "logs": bench.written.getvalue(),
            "mlflow": bench.mlflow_texts(), "journal": "\n".join(kept),
            "ledger": json.dumps([one.payload for one in ledger.entries(limit=100_000)]),
        }  # fmt: skip
    assert facts["asked"] == len(rows), "each person was asked about"
    assert all(len(text) > 100 for text in texts.values()), "each place was written to"
    own = {row["message_id"]: (row["mail"], row["name"]) for row in rows.to_dict("records")}
    right = [own[key] == (one["to"][0], one["body"][5:].partition(",")[0]) for key, one in mails.items()]
    places = {name: reached(rows, text) for name, text in texts.items()}
    first = {
        "name": "privacy_people_reached", "value": len(set().union(*places.values())), "unit": f"of {PEOPLE}", "target": 0,
        "larger_is_better": False, "peer": "regular expressions only", "peer_value": len(_peers(rows)), "ratio": None,
        "places": {name: len(who) for name, who in places.items()}, "who": sorted(set().union(*places.values()))[:20],
        "characters": {name: len(text) for name, text in texts.items()}, "requests": len(asked),
        "accepted": facts["accepted"], "reasons": facts["reasons"], "traced": facts["traced"],
        "mails": len(mails), "mails_with_the_right_name_and_address": sum(right), "seed": seed, "versions": _versions(),
    }  # fmt: skip
    return [first, unknown(seed)]


def _peers(rows: pd.DataFrame) -> set[str]:
    """Whom the regular expressions alone would have shown."""
    found: set[str] = set()
    for place in range(len(rows)):
        one = rows.iloc[place : place + 1]
        row = one.iloc[0]
        found |= reached(
            one, PEER.sub("[X]", json.dumps([row["name"], row["account"], row["text"]], ensure_ascii=False))
        )
    return found


def unknown(seed: int) -> dict[str, Any]:
    """People whom only the text of another customer names."""
    from baton.data.datasets import read

    rng = random.Random(seed + 1)
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], STRANGERS)
    rows = pd.DataFrame([
        {"message_id": f"m{number}", "name": name, "planted": json.dumps([name]), "mail": f"customer{number}@mail.example",
         "text": f"I wait for a transfer. {rng.choice(STRANGER).format(name=name)}",
         "account": f"DE{number:020d}"}
        for number, name in enumerate(names)
    ])  # fmt: skip
    with workbench(tracking=False) as bench:
        keys = read(through(bench, rows.assign(name="Customer Own")).ref)["entity_key"]
        asked = [json.dumps(body, ensure_ascii=False) for body in bench.server.requests if not _again(body)]
    own = zip(keys, asked, strict=True)  # cases are asked in their order, each once but for its redrafts
    found = {key for key, text in own if reached(rows[rows["message_id"] == key], text)}
    return {
        "name": "privacy_names_that_no_case_knows", "value": len(found), "unit": f"of {STRANGERS}",
        "target": None, "larger_is_better": False, "peer": "no detector of names", "peer_value": STRANGERS, "ratio": None,
        "seed": seed, "versions": _versions(),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("pydantic-ai-slim", "spacy", "mlflow")}


if __name__ == "__main__":
    report(run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, settings().home / "bench"))
