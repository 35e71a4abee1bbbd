"""Names of companies and persons: what they look like, and how names and domains are compared."""

import re
from functools import lru_cache

from baton_packs.customer_experience.fields.labels import INDEX, WORD
from baton_packs.customer_experience.fields.page import fold

FORMS = (r"Pvt\.?\s?Ltd|Pty\.?\s?Ltd|Private Limited|Ltd|Limited|LLC|L\.L\.C|LLP|PLC|Inc|Incorporated|Corp|Corporation|Co\.?\s?KG"
         r"|GmbH(?:\s?&\s?Co\.?\s?KG)?|mbH|AG|UG(?:\s?\(haftungsbeschränkt\))?|KGaA|KG|OHG|e\.\s?K|eG|e\.\s?V|SE"
         r"|S\.?A\.?R\.?L|Sarl|S\.?A\.?S(?:\.?U)?|S\.A|SA|SNC|EURL|SCI|B\.\s?V|BV|N\.\s?V|NV|V\.?O\.?F|BVBA|SRL|S\.r\.l|S\.p\.A"
         r"|A/S|ApS|AB|Oy|Bhd|Sdn Bhd")  # fmt: skip
NAME_WORD = r"(?:[A-ZÄÖÜÉÈÀÂÇ0-9][\w&'’.+-]{0,30}|&|and|und|et|en|de|of|for|der|van|e-[A-Z]\w{0,30})"
LEGAL = re.compile(
    rf"(?<![\w@.-])(?P<name>(?:{NAME_WORD}[ ]){{0,5}}{NAME_WORD}),?[ ](?P<form>{FORMS})(?:\.(?!\w)|(?![\w&]))"
)
ENDS = re.compile(rf"(?<![\s,])[\s,]++(?:{FORMS})\.?\s*$", re.IGNORECASE)
_FREE = "gmail googlemail hotmail outlook live yahoo gmx web aol icloud protonmail proton laposte wanadoo t-online ziggo mail"
_SECOND = "co com org net ac gov or ne"
_TITLES = (
    "page seite blatt copy kopie original duplicate details summary zusammenfassung logo retail tax total welcome hello hi dear hallo "
    "bonjour beste geachte sehr geehrte guten madame monsieur subject betreff objet onderwerp thank thanks please find attached re fw "
    "fwd aw wg sent to von van an cc description quantity menge nederland netherlands belgium belgie belgique deutschland germany "
    "france england united ireland osterreich austria schweiz suisse switzerland luxembourg india usa "
    "eur usd gbp chf inr euro"
)
FREE, SECOND, TITLES = (frozenset(words.split()) for words in (_FREE, _SECOND, _TITLES))
TITLE = re.compile(r"(?:rechnung|factuur|facture|invoice|beleg|quittung)$")
HOUSE = re.compile(r"\d")


@lru_cache(maxsize=20_000)
def name_key(name: str) -> str:
    """A name for comparing: lower case, without accents, punctuation and legal form: `ACME, Inc.` -> `acme`."""
    bare = ENDS.sub("", name.strip()) or name
    bare = ENDS.sub("", bare) or bare
    return re.sub(r"[^a-z0-9]+", " ", fold(bare)).strip()


def owned_domain(domain: str) -> str:
    """A mail or web domain without subdomains: `mail.acme-trade.co.uk` -> `acme-trade.co.uk`."""
    parts = domain.lower().strip(".> ").split(".")
    own = 3 if len(parts) > 2 and parts[-2] in SECOND and len(parts[-1]) <= 3 else 2
    return ".".join(parts[-own:])


@lru_cache(maxsize=20_000)
def domain_key(domain: str) -> str:
    """The part of a domain that names its owner: `mail.acme-trade.co.uk` -> `acmetrade`; "" for free mail."""
    own = owned_domain(domain).split(".")[0]
    return "" if own in FREE or "." not in domain else own.replace("-", "")


def looks_like_name(text: str) -> bool:
    """Whether a piece of a line could be a company's or person's name: few capitalised words that announce nothing."""
    words = text.replace(",", " ").split()
    if not 1 <= len(words) <= 6 or len(text) > 60 or text.rstrip().endswith((":", "?", "!")) or "@" in text:
        return False
    first = [fold(word) for word in WORD.findall(text)]
    if not first or not TITLES.isdisjoint(first[:2]) or HOUSE.search(text) or TITLE.search(first[0]):
        return False
    if first[0] in INDEX and any(" ".join(first).startswith(" ".join(phrase)) for phrase, _ in INDEX[first[0]]):
        return False
    if text.endswith(".") and not ENDS.search(text):
        return False
    return text[0].isupper() and sum(word[0].isupper() or word[0] in "&-e" for word in words) * 2 > len(words)
