"""Invented companies and persons who write to the simulated intake; every name, address and account is made up.

Mail domains end in `.example` (RFC 2606), telephone numbers are from ranges kept free for fiction, bank codes belong
to nobody; account numbers are IBANs with a right checksum, since a reader may check them.
"""

import random
import string
import unicodedata
from dataclasses import dataclass

from stdnum.iso7064 import mod_97_10

# per country: the layout of the national part of an IBAN (d digit, other characters stand for themselves)
_NATIONAL = {
    "DE": "99900" + "d" * 13,
    "FR": "99901" + "d" * 18,
    "NL": "BTXN" + "d" * 10,
    "GB": "BTXG" + "d" * 14,
    "IE": "BTXI" + "d" * 14,
    "BE": "99" + "d" * 10,
    "CH": "99902" + "d" * 12,
    "LU": "999" + "d" * 13,
}

_FIRST = {
    "en": "Alice Martin Harriet Oliver Nadia Graham Imogen Callum Priya Stephen Rosalind Declan Fiona Leonard",
    "de": "Jürgen Sabine Ute Matthias Annika Torsten Heike Lukas Friederike Björn Katrin Emre Gisela Stefan",
    "fr": "Élodie Mathieu Camille Benoît Solène Gérard Amandine Hugo Maëlle Thierry Inès Laurent",
    "nl": "Marieke Joost Femke Sander Anouk Bram Liesbeth Wouter Saskia Daan Ingrid Pieter",
}
_LAST = {
    "en": "Wexcombe Ashdowne Tillery Marchbank Pemberly Okafor Lindhurst Crowther Shahani Fenwick Dunmore Brantley",
    "de": "Wiesengrund Kranz Haberstroh Özkan Lindemaier Vossberg Rautenkamp Schönfelder Brückner Talmann Eggers",
    "fr": "Delorme Vautrin Lamarque Chastenet Béranger Roussillard Ferrandin Quentel Maubert Girardot",
    "nl": "van Dalfsen Terwisscha Kuipersma de Ruyver Hoogendam Brandsma van Lierop Postmaker Veenhuis",
}
_STREET = {
    "en": ("{n} Alder Lane", "{n} Quarry Road", "Flat 3, {n} Mill Street", "{n} Saddler's Row", "{n} Canal Walk"),
    "de": ("Lindenweg {n}", "Am Mühlgraben {n}", "Bahnhofstraße {n}", "Schäfergasse {n}", "Obere Zeile {n}"),
    "fr": ("{n}, rue des Tilleuls", "{n}, avenue du Moulin", "{n} bis, chemin des Vignes", "{n}, place du Lavoir"),
    "nl": ("Molenpad {n}", "Kerkstraat {n}", "Lange Wal {n}", "Wilgenlaan {n}", "Achterdijk {n}"),
}
_CITY = {
    "en": ("BX4 7QD Brackenford", "HW12 3RT Hollowmere", "KY2 9LP Kestrelby", "OV7 1AB Orrinvale"),
    "de": ("98991 Ostermühl", "97998 Falkenrode", "90999 Grünwitz", "87993 Auenstett"),
    "fr": ("99120 Valbrune", "98340 Merlaudan", "97001 Saint-Orvain"),
    "nl": ("9990 KV Koppelveld", "9984 ZW Zuiderwaal", "9971 BD Bredenoord"),
}
_PHONE = {"en": "020 7946 0{}", "de": "030 23125 {}", "fr": "01 99 00 17 {}", "nl": "+31 970 0555 {}"}
_COUNTRY = {"en": "GB", "de": "DE", "fr": "FR", "nl": "NL"}


@dataclass(frozen=True)
class Writer:
    """Somebody who writes; `account` is an IBAN, `number` the customer number with us."""

    name: str
    mail: str
    phone: str
    address: str
    account: str
    number: str


@dataclass(frozen=True)
class Company:
    """A business partner whose documents always look alike.

    Attributes:
        domain: of its mails; language: en, de, fr or nl; currency: ISO code.
        account: IBAN; customer: our customer number with it (a buyer's: its number with us).
        layout: a key of `pdf.LAYOUTS`; variant: which of the labels it uses.
        number: form of its document numbers, `#` a digit and `{y}` the year; date, money: forms (`documents.forms`).
        typical: median of its totals in its currency, net; tax: rate of value added tax.
    """

    name: str
    address: str
    domain: str
    language: str
    currency: str
    account: str
    customer: str
    layout: str
    variant: int
    number: str
    date: str
    money: str
    typical: float
    tax: float
    sells: str
    contacts: tuple[Writer, ...]


def iban(country: str, rng: random.Random) -> str:
    """An account number of a country of `_NATIONAL` with a right checksum, without blanks."""
    national = "".join(rng.choice(string.digits) if c == "d" else c for c in _NATIONAL[country])
    return f"{country}{mod_97_10.calc_check_digits(national + country)}{national}"


def grouped(account: str) -> str:
    """An IBAN as it is printed: groups of four."""
    return " ".join(account[i : i + 4] for i in range(0, len(account), 4))


def person(rng: random.Random, language: str, domain: str = "") -> Writer:
    """An invented person; without a domain a private one at a free mail service."""
    first = rng.choice(_FIRST[language].split())
    last = rng.choice(_names(_LAST[language]))
    plain = unicodedata.normalize("NFKD", f"{first}.{last}".replace(" ", "").lower().replace("ß", "ss"))
    mailbox = "".join(c for c in plain if c in string.ascii_lowercase + ".")
    if not domain:
        mailbox += str(rng.randint(1, 99))
        domain = rng.choice(("mailbox.example", "postfach.example", "home-mail.example"))
    phone = _PHONE[language].format(f"{rng.randint(0, 99):02d}" if language == "fr" else f"{rng.randint(0, 999):03d}")
    street = rng.choice(_STREET[language]).format(n=rng.randint(1, 148))
    return Writer(f"{first} {last}", f"{mailbox}@{domain}", phone, f"{street}, {rng.choice(_CITY[language])}",
                  iban(_COUNTRY[language], rng), f"K-{rng.randint(100000, 999999)}")  # fmt: skip


def _names(text: str) -> list[str]:
    """Surnames; a small word belongs to the next one (`van Dalfsen`)."""
    names, prefix = [], ""
    for word in text.split():
        if word.islower():
            prefix = f"{word} "
        else:
            names.append(prefix + word)
            prefix = ""
    return names


# name; address; domain; language currency country; layout variant; number, date, money; typical, tax; what it sells
_SUPPLIERS = (
    ("Brackenford Paper Ltd", "14 Quarry Road, BX4 7QD Brackenford", "brackenford-paper.example",
     "en GBP GB", "classic", 0, "BP-#######", "d Month yyyy", "£1,234.56", 640, 0.20, "goods"),
    ("Hollowmere Haulage Ltd", "Unit 7 Canal Walk, HW12 3RT Hollowmere", "hollowmere-haulage.example",
     "en GBP GB", "banded", 1, "INV/{y}/#######", "dd/mm/yyyy", "GBP 1,234.56", 2300, 0.20, "freight"),
    ("Orrinvale Hosting S.A.", "3 Beacon Court, OV7 1AB Orrinvale", "orrinvale-hosting.example",
     "en USD LU", "compact", 2, "OH#######", "Month d, yyyy", "$1,234.56", 410, 0.17, "services"),
    ("Kestrelby Facility Services", "88 Saddler's Row, KY2 9LP Kestrelby", "kestrelby-fs.example",
     "en EUR IE", "columns", 3, "{y}-#######", "yyyy-mm-dd", "EUR 1,234.56", 1250, 0.23, "services"),
    ("Ostermühl Werkzeugbau GmbH", "Am Mühlgraben 9, 98991 Ostermühl", "ostermuehl-werkzeugbau.example",
     "de EUR DE", "letter", 0, "RE-{y}-#######", "dd.mm.yyyy", "1.234,56 €", 3800, 0.19, "goods"),
    ("Grünwitz Energie AG", "Obere Zeile 120, 90999 Grünwitz", "gruenwitz-energie.example",
     "de EUR DE", "banded", 1, "#########", "dd.mm.yyyy", "1.234,56 EUR", 920, 0.19, "energy"),
    ("Falkenrode Verpackungen KG", "Schäfergasse 4, 97998 Falkenrode", "falkenrode-verpackungen.example",
     "de EUR DE", "classic", 2, "F#######", "d. Month yyyy", "1.234,56 €", 560, 0.19, "goods"),
    ("Tannbichl Treuhand AG", "Dorfstrasse 31, 9991 Tannbichl", "tannbichl-treuhand.example",
     "de CHF CH", "columns", 3, "TT-{y}/#######", "dd.mm.yyyy", "CHF 1'234.56", 1700, 0.081, "services"),
    ("Papeterie Valbrune SARL", "5, place du Lavoir, 99120 Valbrune", "papeterie-valbrune.example",
     "fr EUR FR", "letter", 0, "FA{y}-#######", "dd/mm/yyyy", "1 234,56 €", 310, 0.20, "goods"),
    ("Transports Merlaudan SAS", "61, avenue du Moulin, 98340 Merlaudan", "transports-merlaudan.example",
     "fr EUR BE", "compact", 1, "TM-#######", "d Month yyyy", "1 234,56 EUR", 1450, 0.21, "freight"),
    ("Zuiderwaal Techniek B.V.", "Lange Wal 18, 9984 ZW Zuiderwaal", "zuiderwaal-techniek.example",
     "nl EUR NL", "classic", 0, "{y}#######", "dd-mm-yyyy", "€ 1.234,56", 2100, 0.21, "services"),
    ("Drukkerij Koppelveld B.V.", "Wilgenlaan 2, 9990 KV Koppelveld", "drukkerij-koppelveld.example",
     "nl EUR NL", "columns", 1, "DK-#######-{y}", "d Month yyyy", "€ 1.234,56", 480, 0.21, "goods"),
)  # fmt: skip

_NEWCOMERS = (
    ("Pellworth Circular Ltd", "2 Tannery Yard, BX4 8PC Brackenford", "pellworth-circular.example",
     "en GBP GB", "statement", 0, "PC.{y}.#######", "d Month yyyy", "GBP 1,234.56", 1100, 0.20, "goods"),
    ("Lisbrook Data Services Ltd", "19 Alder Lane, HW12 5LS Hollowmere", "lisbrook-data.example",
     "en EUR IE", "statement", 1, "LDS########", "yyyy-mm-dd", "EUR 1,234.56", 2600, 0.23, "services"),
    ("Auenstett Systemhaus GmbH", "Bahnhofstraße 77, 87993 Auenstett", "auenstett-systemhaus.example",
     "de EUR DE", "statement", 0, "AS/#######", "dd.mm.yyyy", "1.234,56 EUR", 1900, 0.19, "services"),
    ("Norrvik Supply Partners", "40 Mill Street, KY2 4NS Kestrelby", "norrvik-supply.example",
     "en EUR IE", "statement", 1, "NSP-#######", "dd/mm/yyyy", "€1,234.56", 740, 0.23, "goods"),
)  # fmt: skip

_BUYERS = (
    ("Thistlewick Retail Group", "70 Mill Street, KY2 9LP Kestrelby", "thistlewick-retail.example",
     "en GBP GB", "columns", 0, "PO-######", "d Month yyyy", "£1,234.56", 2900, 0.20, "outdoor"),
    ("Copperhay Schools Trust", "1 Alder Lane, BX4 7QD Brackenford", "copperhay-schools.example",
     "en GBP GB", "classic", 1, "45#######", "dd/mm/yyyy", "GBP 1,234.56", 1300, 0.20, "outdoor"),
    ("Lanternhill Events Ltd", "22 Canal Walk, HW12 3RT Hollowmere", "lanternhill-events.example",
     "en EUR IE", "letter", 2, "LH/####", "yyyy-mm-dd", "EUR 1,234.56", 860, 0.23, "outdoor"),
    ("Sportkontor Haidmoos GmbH", "Lindenweg 52, 87993 Auenstett", "sportkontor-haidmoos.example",
     "de EUR DE", "banded", 0, "B-{y}-####", "dd.mm.yyyy", "1.234,56 €", 3400, 0.19, "outdoor"),
    ("Wanderbund Ostermühl e.V.", "Bahnhofstraße 3, 98991 Ostermühl", "wanderbund-ostermuehl.example",
     "de EUR DE", "classic", 2, "BST####", "d. Month yyyy", "1.234,56 EUR", 620, 0.19, "outdoor"),
    ("Randonnées Saint-Orvain", "8, rue des Tilleuls, 97001 Saint-Orvain", "randonnees-orvain.example",
     "fr EUR FR", "columns", 0, "CDE-#####", "dd/mm/yyyy", "1 234,56 €", 1100, 0.20, "outdoor"),
    ("Kampeerhuis Bredenoord B.V.", "Achterdijk 140, 9971 BD Bredenoord", "kampeerhuis-bredenoord.example",
     "nl EUR NL", "letter", 0, "IO######", "dd-mm-yyyy", "€ 1.234,56", 1900, 0.21, "outdoor"),
)  # fmt: skip


def _company(row: tuple) -> Company:
    """Accounts and contacts follow from the name, so that a company is the same in every simulation."""
    name, address, domain, where, layout, variant, number, date, money, typical, tax, sells = row
    language, currency, country = where.split()
    rng = random.Random(f"company/{name}")
    contacts = tuple(person(rng, language, domain) for _ in range(3))
    customer = rng.choice(("{:06d}", "KD-{:05d}", "C{:07d}", "10-{:04d}")).format(rng.randint(1000, 9999))
    return Company(name, address, domain, language, currency, iban(country, rng), customer, layout, variant, number,
                   date, money, float(typical), tax, sells, contacts)  # fmt: skip


SUPPLIERS = tuple(_company(row) for row in _SUPPLIERS)
NEWCOMERS = tuple(_company(row) for row in _NEWCOMERS)
BUYERS = tuple(_company(row) for row in _BUYERS)
US = _company(("Quellhorst Outdoor GmbH", "Speicherring 12, 98995 Ostermühl", "quellhorst-outdoor.example",
               "de EUR DE", "letter", 0, "QO-{y}-######", "dd.mm.yyyy", "1.234,56 €", 140, 0.19, "outdoor"))  # fmt: skip
INTAKE = f"documents@{US.domain}"
