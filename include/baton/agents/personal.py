"""Personal data in a text, found by their shape or by their known values, in whatever way they are written.

All functions look at a *folded* text: full-width and accented characters are their plain ones, invisible characters are
gone. A span counts characters of the text as it was given.

Anybody may have written the text, so no pattern may take long over any: what repeats is bounded, or possessive, or cannot
be read in two ways.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

NAME, MAIL, PHONE, ACCOUNT, CARD, NUMBER, ADDRESS, LINK = (
    "NAME", "MAIL", "PHONE", "ACCOUNT", "CARD", "NUMBER", "ADDRESS", "LINK",
)  # fmt: skip

Writings = Callable[[str], Iterator[tuple[int, int]]]
"""Where a known value stands in a folded text, (start, end), in order, none over another."""

_GAP = r"[\s().,/'’_-]*"  # what people put between the parts of a name or a number
_BETWEEN = re.compile(_GAP)
# letters that no normal form takes apart
_LETTERS = str.maketrans({
    "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "æ": "ae", "Æ": "Ae",
    "œ": "oe", "Œ": "Oe", "ı": "i",
})  # fmt: skip
_NOT_IN_WORD, _NOT_ON_WORD = r"(?<![^\W\d_])", r"(?![^\W\d_])"  # digits may follow: ann.smith99

_MAIL = re.compile(
    r"(?<![\w.+%'’-])[\w.+%'’-]+(?:\s?@\s?|\s?[(\[{]\s?at\s?[)\]}]\s?)[\w-]+(?:(?:\.|\s?[(\[{]\s?dot\s?[)\]}]\s?)[\w-]+)*"
    r"|(?<![\w.+-])[\w.+-]+\s{1,3}at\s{1,3}[\w-]+\s{1,3}(?:dot|punkt)\s{1,3}\w+",
    re.IGNORECASE,
)
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"']+", re.IGNORECASE)
_TOKEN = re.compile(r"(?<![\w-])(?:(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{24,}|eyJ[\w-]{10,})(?:\.[\w-]+)*")
_IBAN = re.compile(
    r"(?<![A-Z0-9])[A-Z]{2}[ .-]?\d{2}(?:[ .-]?[A-Z0-9]{4}){2,7}(?:[ .-]?[A-Z0-9]{1,3})?(?![A-Z0-9])", re.I
)
_DIGITS = re.compile(r"(?<![\w])(?<![A-Za-z][-/#])(?:\+ ?|00 ?)?\(?\d(?:[ ().\-/–]{0,3}\d){6,33}(?!\w)")
_LABELLED = re.compile(
    r"\b(?:tel(?:ephone)?|phone|mobile|cell|fax|call|ring|text|whatsapp|account|acct|a/c|iban|card|pin|cvv|cvc|passport|"
    r"licen[cs]e|ssn|nino|password|passcode|otp|konto|customer(?: (?:id|no|number))?)\b[\w\s:.#'’-]{0,20}?(?<!\w)"
    r"(?P<value>\+?\d[\d ().-]{2,}\d)(?!\w)",
    re.IGNORECASE,
)
_SEP = r"[\s,_*:;|./–-]{1,4}"  # what may stand between the groups of a card's digits, also the end of a line
_CARD = re.compile(
    rf"(?<![A-Za-z0-9])(?P<card>\d{{4}}(?:{_SEP}\d{{4}}){{3}})(?P<more>{_SEP}\d{{1,3}})?(?![A-Za-z0-9])"
    rf"|(?<![A-Za-z0-9])(?P<other>3[47]\d\d{_SEP}\d{{6}}{_SEP}\d{{5}}|\d{{8}}{_SEP}\d{{8}}|\d(?:{_SEP}\d){{12,18}})(?![A-Za-z0-9])"
)
_ISSUED = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6")  # how the numbers of cards begin
# a British National Insurance number
_INSURANCE = re.compile(
    r"(?<![A-Za-z0-9])(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:[ .-]?\d\d){3}[ .-]?[A-D](?![A-Za-z0-9])",
    re.IGNORECASE,
)
_ON_DATE = r"\d{1,4}[-/. ]{1,2}(?:\d{1,2}|[A-Za-z]{3,9}\.?)[-/., ]{1,2}\d{2,4}(?!\d)|[A-Za-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}(?!\d)"
# personal only beside what says what it is: a sort code may be a date, a date of birth any other
_SAID = re.compile(
    r"\b(?:sort[ -]?code|blz|bankleitzahl)\b[\s:.#a-z]{0,12}?(?P<code>\d\d(?:[ -]?\d){4,6})(?!\d)"
    rf"|\b(?:born|birth|birth ?date|birthday|d\.? ?o\.? ?b|geboren|geb|geburtsdatum|geburtstag|nee?|naissance|geboortedatum|nacimiento|nascita)\b"
    rf"[\s:.(]{{0,4}}(?:(?:on|is|was|am|op|le|el|il|the|date)\b[\s:.]{{0,3}}){{0,2}}(?P<date>{_ON_DATE})"
    r"|\b(?:passport|reisepass|passeport|paspoort|pasaporte|personalausweis|(?:id|identity) card)\b"
    r"[\s:.#a-z-]{0,20}?\b(?P<paper>(?=[A-Z0-9]{0,10}\d[A-Z]{0,9}\d)[A-Z0-9]{7,12})\b",
    re.IGNORECASE,
)
# not personal, though made of as many digits: dates, times, amounts of money
_DATE = r"\d{4}[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.](?:\d{4}|\d{2})(?: \d{1,2}:\d{2})?"
_MONEY = (
    r"\d{1,3}(?:,\d{3}){1,6}(?:\.\d+)?|\d{1,3}(?:[. ]\d{3}){1,6},\d{1,2}|\d{1,3}(?: \d{3}){1,6}\.\d{1,2}|\d+[.,]\d{1,2}"
)
_IMPERSONAL = re.compile(rf"(?<![\w.])(?<!\d[-/])(?:{_DATE}|{_DAY}|{_MONEY})(?![.,/-]?\d|\w| \d)")

_KINDS_OF_STREET = (
    r"(?i:street|road|avenue|lane|boulevard|blvd|crescent|terrace|gardens|square)|(?i:rd|ave|ln)\b\.?|"
    r"St\b\.?|ST\b|Drive|Dr\b|Court|Ct\b|Place|Pl\b|Way|Close|Grove|Hill|Park|Row|Mews|Walk|Green|Rise|View"
)
_POSTCODE = (
    r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]{2},? \d{5}(?:-\d{4})?|(?:[A-Z]{1,2}-)?\d{4,5}(?: ?[A-Z]{2})? [A-Z][\w'-]+"
)
_BREAK = r",? *+(?:\n *+)?+"
_TOWN = r"[A-Z][\w'-]{1,60}(?: [A-Z][\w'-]{1,60}){0,2}"
_REST = rf"(?:{_BREAK}(?:(?:(?i:flat|apt|apartment|unit|suite) ?\w{{1,40}}|{_TOWN}){_BREAK}){{0,2}}(?:{_POSTCODE})\b)?"
_ADDRESS = re.compile(
    rf"(?:(?i:flat|apt|apartment|unit|suite) ?\w{{1,40}},?\s{{1,2}})?(?<![\w.])\d{{1,5}}[A-Za-z]?,? (?:[\w.'-]+ ){{1,4}}?(?:{_KINDS_OF_STREET})(?!\w){_REST}"
    rf"|\b[\w-]{{0,30}}(?i:stra(?:ss|ß)e|str\.|weg|platz|allee|gasse|laan|straat|gatan)\s++\d{{1,4}}[a-z]?\b{_REST}"
    r"|\b\d{1,4}(?: (?:bis|ter))?,? (?i:rue|avenue|boulevard|place|chemin|quai)(?: (?:de|du|des|la|le|les|[ld]['’]))*"
    r"(?: ?[\w'’-]+)(?: [A-Z][\w'’-]+)?(?:,?\s++\d{5} [A-Z][\w'-]+)?"
    rf"|\b(?i:calle|avenida|via|viale|piazza|rua|plaza) [\w'’.-]+(?: [\w'’.-]+){{0,3}}? ?,? ?(?i:n[o°º]?\.? ?)?\d{{1,4}}\b(?:,? \d{{5}} [A-Z][\w'-]+)?"
    r"|\b(?i:p\.? ?o\.? ?box) \d+"
    r"|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
)


class PersonalSpan(NamedTuple):
    """Where personal data stand in a text, and of which kind they are."""

    start: int
    end: int
    kind: str


class Folded(NamedTuple):
    """A text in plain characters, and for each of them where it stood; one place more for the end."""

    text: str
    places: list[int]


def fold(text: str) -> Folded:
    """Plain characters of a text: without accents, marks, ligatures, full width and what nobody sees."""
    plain: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        parts = character if character.isascii() else unicodedata.normalize("NFKD", character.translate(_LETTERS))
        for part in parts:
            if unicodedata.category(part) not in ("Mn", "Cf"):
                plain.append(str(unicodedata.digit(part)) if part.isdigit() and not part.isascii() else part)
                places.append(place)
    return Folded("".join(plain), [*places, len(text)])


def by_shape(folded: Folded) -> Iterator[PersonalSpan]:
    """Mail addresses, links and tokens, accounts, cards, phone numbers, long numbers, postal addresses, dates of birth."""
    text = folded.text
    for match in _MAIL.finditer(text):
        yield _span(folded, *match.span(), MAIL)
    for match in _LINK.finditer(text):
        if re.search("[?#&;=@]", link := match.group()) or any(
            len(part) > 15 and re.search(r"\d", part) for part in re.split(r"[^\w-]", link)
        ):
            yield _span(folded, *match.span(), LINK)
    for match in _TOKEN.finditer(text):
        yield _span(folded, *match.span(), LINK)
    for match in _IBAN.finditer(text):
        if end := _account_end(match.group()):
            yield _span(folded, match.start(), match.start() + end, ACCOUNT)
    yield from _papers(folded)
    for match in _ADDRESS.finditer(text):
        yield _span(folded, *match.span(), ADDRESS)
    for match in _LABELLED.finditer(text):
        if not _IMPERSONAL.fullmatch(match["value"]):
            yield _span(folded, *match.span("value"), NUMBER)
    without = _IMPERSONAL.sub(lambda match: "\0" * len(match.group()), text)
    for match in _DIGITS.finditer(without):
        yield _span(folded, *match.span(), _kind_of_number(match.group()))


def _papers(folded: Folded) -> Iterator[PersonalSpan]:
    """Cards in whatever writing, insurance numbers; passports, sort codes and dates of birth beside the word for them."""
    for match in _CARD.finditer(folded.text):
        if end := _card_end(match):
            yield _span(folded, match.start(), end, CARD)
    for match in _INSURANCE.finditer(folded.text):
        yield _span(folded, *match.span(), NUMBER)
    for match in _SAID.finditer(folded.text):
        yield _span(folded, *match.span(str(match.lastgroup)), NUMBER)


def by_value(folded: Folded, found: Writings, kind: str) -> Iterator[PersonalSpan]:
    """Where a known value stands, in any of its `writings`."""
    for start, end in found(folded.text):
        yield _span(folded, start, end, kind)


def writings(kind: str, value: str, given: bool = True) -> Writings | None:
    """What finds a known value however it is written; None if there is too little of it to be found.

    Args:
        given: False for a name that was only guessed in a text: its parts count with a capital letter alone.
    """
    plain = fold(value).text.strip()
    if len(plain) < 2:
        return None
    if kind == NAME:
        return _names(value, plain, given)
    if (digits := re.sub(r"\D", "", plain)) and kind in (PHONE, ACCOUNT, CARD, NUMBER):
        forms = list(_numbers(kind, plain, digits))
    elif kind == ADDRESS:
        lines = [line for line in re.split(r"[,\n]", plain) if re.search(r"\d", line) and len(line.strip()) > 3]
        forms = [_loose(plain), *(_loose(line) for line in lines)]
    else:
        forms = [_loose(plain)]
    if not any(forms):
        return None
    pattern = re.compile("|".join(form for form in forms if form))
    return lambda text: (match.span() for match in pattern.finditer(text))


def _names(value: str, plain: str, given: bool) -> Writings | None:
    """Any of a name's words in any order: all of them, two, or one that can be told from a common word."""
    words = {word for spelt in (plain, fold(_spelt_out(value)).text) for word in re.findall(r"[^\W\d_]+", spelt)}
    alone = []
    for word in words:
        ways = "|".join(sorted({re.escape(way) for way in (word, word.title(), word.upper())}))
        if given and len(word) > 2:
            ways = f"(?i:{re.escape(word)})"
        alone += [ways] if len(word) > 1 else []
    if not words:
        return None
    not_in_mail = r"(?![\w.+-]{0,40}@)"  # a mail address is one value, also right behind a name
    begin = re.compile(f"{_NOT_IN_WORD}(?i:{'|'.join(map(re.escape, words))})")
    single = re.compile(f"(?:{'|'.join(alone) or r'(?!)'}){_NOT_ON_WORD}{not_in_mail}")
    each, last = [re.compile(re.escape(word), re.IGNORECASE) for word in words], re.compile(_NOT_ON_WORD + not_in_mail)

    def found(text: str) -> Iterator[tuple[int, int]]:
        at = 0
        while first := begin.search(text, at):
            start = first.start()
            ends = [end for end in _several(text, start, each) if last.match(text, end)]
            if not ends and (match := single.match(text, start)):
                ends = [match.end()]
            at = max(ends, default=start + 1)
            if ends:
                yield start, at

    return found


def _several(text: str, start: int, words: list[re.Pattern[str]]) -> set[int]:
    """Where two or more of the words end that stand behind each other from here on.

    One pattern would do, were it not exponential where a word begins with another: "a" and "aa" in "aaaaaaaa".
    """
    ends: set[int] = set()
    todo = [match.end() for word in words if (match := word.match(text, start))]
    while todo:
        behind = _BETWEEN.match(text, todo.pop())
        following = {match.end() for word in words if behind and (match := word.match(text, behind.end()))}
        todo += following - ends
        ends |= following
    return ends


def _spelt_out(value: str) -> str:
    """Umlauts as they are written where there are none: Müller as Mueller."""
    for letter, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ø", "oe"), ("å", "aa"), ("æ", "ae")):
        value = value.replace(letter, letters).replace(letter.upper(), letters.title())
    return value


def _numbers(kind: str, plain: str, digits: str) -> Iterator[str]:
    characters = re.sub(r"[^A-Za-z0-9]", "", plain)
    yield rf"(?<![A-Za-z0-9])\+?(?i:{_GAP.join(characters)})(?!\d)"
    if kind == PHONE and len(digits) > 8:  # with or without the country, with or without the leading zero
        yield rf"(?<!\d)(?:(?:(?:\+|00) ?)?\(?(?:\d{_GAP}){{1,5}})?{_GAP.join(digits[-8:])}(?!\d)"


def _loose(plain: str) -> str:
    words = r"[\W_]*".join(map(re.escape, re.findall(r"[^\W_]+", plain)))
    return rf"{_NOT_IN_WORD}(?<!\d)(?i:{words})(?!\d){_NOT_ON_WORD}" if words else ""


def _account_end(text: str) -> int:
    """How much of it is an account number; 0 for words that only look like one."""
    ends = [match.end() for match in re.finditer(r"[A-Za-z0-9](?=[ .-]|$)", text)]
    for end in reversed(ends):
        compact = re.sub(r"[^A-Z0-9]", "", text[:end].upper())
        if 12 <= len(compact) <= 34 and mod_97_10.is_valid(compact[4:] + compact[:4]):
            return end
    if not (text[:2].isupper() or text[2].isdigit()):  # "is 0207 946 0958"
        return 0
    while ends and not any(c.isdigit() for c in re.split(r"[ .-]", text[: ends[-1]])[-1]):
        ends.pop()
    return ends[-1] if ends and sum(c.isdigit() for c in text[: ends[-1]]) >= 10 else 0


def _card_end(match: re.Match[str]) -> int:
    """Where a card's number ends by its check digit; 0 for other figures beside each other."""
    for end in (match.end(), match.end("card")):
        digits = re.sub(r"\D", "", match.string[match.start() : end]) if end > 0 else ""
        if 13 <= len(digits) <= 19 and _ISSUED.match(digits) and luhn.is_valid(digits):
            return end
    return 0


def _kind_of_number(text: str) -> str:
    digits = "".join(c for c in text if c.isdigit())
    if 13 <= len(digits) <= 19 and luhn.is_valid(digits):
        return CARD
    return PHONE if (len(digits) <= 15 and not text.isdigit()) or text[0] in "+0" else NUMBER


def _span(folded: Folded, start: int, end: int, kind: str) -> PersonalSpan:
    return PersonalSpan(folded.places[start], folded.places[end - 1] + 1, kind)


Detector = Callable[[str], Iterable[tuple[int, int, str]]]
"""(start, end, kind) of what is personal in a text; characters of that text, kind such as `NAME` or `ADDRESS`."""
