"""Customers who do not exist: names, mail addresses at reserved domains, accounts at a bank code nobody has."""

import random
from dataclasses import dataclass
from functools import cache

from stdnum.iso7064 import mod_97_10

FIRST = (
    "Amelia", "Omar", "Ingrid", "Tomasz", "Priya", "Declan", "Yuki", "Farah", "Mateo", "Sanne", "Kofi", "Bronwyn",
    "Leila", "Henrik", "Chiara", "Rohan", "Zofia", "Samuel", "Noor", "Gareth", "Elif", "Pieter", "Hana", "Marcus",
    "Aoife", "Diego", "Lucia", "Viktor", "Esther", "Ravi", "Maren", "Jonas", "Beatriz", "Callum", "Thandi", "Oskar",
    "Mina", "Edward", "Salma", "Felix",
)  # fmt: skip
LAST = (
    "Ashcombe", "Bakkerson", "Castellane", "Drummoyne", "Eriksholm", "Farrowdale", "Gwynnfield", "Haldorsen",
    "Iversley", "Jankowitz", "Kessington", "Lindqvale", "Marchetto", "Norbrook", "Okonedu", "Pemberley", "Quistgaard",
    "Rosendale", "Stavridou", "Thackeray-Lund", "Underhay", "Vandermolen", "Wexcombe", "Yarborough", "Zielonka",
    "Abernathe", "Brightwater", "Corvalan", "Dunsmore", "Ellerby", "Fairweather", "Greenhalgh", "Hathersage",
)  # fmt: skip
STREETS = (
    "Larkspur Road",
    "Mill Lane",
    "Harbour Street",
    "Old Chapel Way",
    "Juniper Close",
    "Beacon Hill",
    "Station Parade",
)
PLACES = ("Millbrook", "Ashford Green", "Port Ellery", "Northmoor", "Castle Weir", "Little Haven")
CUSTOMERS = 400
_FIXED = 4177  # the same people in every simulation, so that a customer comes back


@dataclass(frozen=True)
class Customer:
    """One invented customer; every value is unique to them."""

    name: str
    mail: str
    account: str
    phone: str
    street: str


def iban(country: str, basic: str) -> str:
    """An account number with its two check digits (ISO 13616)."""
    return f"{country}{mod_97_10.calc_check_digits(basic + country)}{basic}"


@cache
def customers() -> tuple[Customer, ...]:
    """All customers, always the same ones."""
    rng = random.Random(_FIXED)
    names = rng.sample([f"{first} {last}" for first in FIRST for last in LAST], CUSTOMERS)
    found = []
    for number, name in enumerate(names):
        mail = f"{name.lower().replace(' ', '.')}@example.{rng.choice(('com', 'org', 'net'))}"
        account = iban("GB", f"BATN{rng.randrange(10**6):06d}{number:04d}{rng.randrange(10**4):04d}")
        # 07700 900000 to 900999 are kept free for fiction
        phone = f"+44 7700 900{number % 1000:03d}"
        street = f"{1 + number % 180} {rng.choice(STREETS)}, {rng.choice(PLACES)}"
        found.append(Customer(name, mail, account, phone, street))
    return tuple(found)
