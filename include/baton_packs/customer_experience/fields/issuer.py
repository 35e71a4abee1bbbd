"""Issuer and addressee of a document: candidates from letterhead, labels, footers, addresses and sender, rated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from baton_packs.customer_experience.fields.company import ENDS, HOUSE, LEGAL, domain_key, looks_like_name, name_key
from baton_packs.customer_experience.fields.labels import Label
from baton_packs.customer_experience.fields.page import Found, LineSpan, Page
from baton_packs.customer_experience.reading.text.limits import ATTACHMENT

REGISTER = re.compile(
    r"\b(?:VAT|UStId|USt-?Id|Steuer-?N|TVA|BTW|KvK|HRB|HRA|RCS|SIRET|SIREN|GSTIN|CIN|ABN|EIN|Regd|Registered|Register|Company N"
    r"|Siège social|au capital|Amtsgericht|Geschäftsführ|Vorstand|Handelsregister|IBAN|BIC)",
    re.IGNORECASE,
)
DOMAIN = re.compile(r"(?:@|https?://|www\.)([a-z0-9][a-z0-9.-]{1,60}\.[a-z]{2,12})\b", re.IGNORECASE)
POSTCODE = re.compile(
    r"\b(?:\d{5}|\d{4}\s?[A-Z]{2}|[A-Z]{2}\s\d{5}|\d{4}(?=\s[A-Z])|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2})\b"
)
PART = re.compile(r"(?<!\s)\s*+[,·•|]\s*|\s[-–]\s")
ATTENTION = re.compile(r"(?:attn|attention|z\. ?hd|t\.a\.v|à l['’]attention de)[.: ]+", re.IGNORECASE)
LEAST = 0.25  # of the reasons' sum, that a name counts as the issuer's
BESIDE = 30  # columns
ADDRESSES = 60  # printed lines that may hold the recipient's
MANY = 200  # names, and domains, that are looked for in the whole text: more are no letter's
TOP, FOOT = 6, 8  # printed lines that make a letterhead and a footer


@dataclass(slots=True)
class IssuerCandidate:
    """A possible issuer: each reason counts once."""

    name: str
    start: int
    end: int
    reasons: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Sum of the reasons."""
        return sum(self.reasons.values())


def find_parties(page: Page, labels: list[Label], sender: str, sender_name: str, organisations: Sequence[Found] = (),
                 least: float = LEAST) -> list[Found]:  # fmt: skip
    """The best `issuer` and `recipient`, if there are any; `sender` is the mail's address, `sender_name` its display name;
    `least`: sum of the reasons from which on a name counts.
    """
    recipients = _labelled(page, labels, "recipient")
    letters = _letterheads(page)
    candidates: dict[str, IssuerCandidate] = {}
    _legal(page, candidates)
    for span in _labelled(page, labels, "issuer"):
        _add(candidates, page.of(span), span, "label", 0.55)
    for rank, span in letters:
        _add(candidates, page.of(span), span, "letterhead", 0.3 - 0.03 * rank)
    for span in _address_lines(page):
        _add(candidates, page.of(span), span, "address line", 0.25)
    for found in organisations:
        _add(candidates, found.text, LineSpan(found.start, found.end), "ner", 0.1)
    if sender_name and "@" not in sender_name and candidates.get(name_key(sender_name)):
        candidates[name_key(sender_name)].reasons["sender's name"] = 0.25
    candidates = dict(sorted(candidates.items(), key=lambda pair: -pair[1].score)[:MANY])
    _domains(page, sender, candidates)
    _repeated(page, candidates)
    taken = {name_key(page.of(span)) for span in recipients}
    _addressed(page, labels, candidates, taken)
    result = []
    ranked = sorted((c for c in candidates.values() if c.score >= least), key=lambda c: (-c.score, c.start))
    if ranked:
        best = ranked[0]
        margin = best.score - (ranked[1].score if len(ranked) > 1 else 0.0)
        confidence = min(0.35 + 0.45 * min(best.score, 1.0) + 0.3 * min(margin, 0.5), 0.97)
        result.append(_shown(page, "issuer", best, confidence))
    issuer = name_key(ranked[0].name) if ranked else ""
    others = [(span, 0.8, "label") for span in recipients if name_key(page.of(span)) != issuer]
    block = None if others else _addressee(page, issuer)
    for span, confidence, by in others[:1] or ([(block, 0.55, "address block")] if block else []):
        text = page.of(span).strip(" ,;:")
        result.append(Found("recipient", text, text, span.start, span.start + len(text), confidence, by))
    return result


def _shown(page: Page, kind: str, best: IssuerCandidate, confidence: float) -> Found:
    by = max(best.reasons, key=lambda reason: best.reasons[reason])
    return page.found(kind, " ".join(best.name.split()), best, confidence, by)


def _add(candidates: dict[str, IssuerCandidate], text: str, span: LineSpan, reason: str, weight: float) -> None:
    """Note a reason for a name; the name is shown with its legal form where it is printed with one."""
    name = text.strip(" ,;:|-–*•")
    key = name_key(name)
    if len(key) < 2 or not any(c.isalpha() for c in key):
        return
    start = span.start + text.find(name)
    candidate = candidates.setdefault(key, IssuerCandidate(name, start, start + len(name)))
    if ENDS.search(name) and not ENDS.search(candidate.name):
        candidate.name, candidate.start, candidate.end = name, start, start + len(name)
    candidate.reasons[reason] = max(candidate.reasons.get(reason, 0.0), weight)


def _legal(page: Page, candidates: dict[str, IssuerCandidate]) -> None:
    """Names with a legal form: better in the letterhead, in the footer, and beside a register or tax number."""
    last = len(page.lines)
    for match in LEGAL.finditer(page.text):
        line = page.line_at(match.start())
        if line in page.quoted or match["name"].lower() in ("the", "by", "your"):
            continue
        span = LineSpan(*match.span())
        _add(candidates, match.group(), span, "legal form", 0.3)
        near = page.text[match.end() : min(match.end() + 200, page.lines[min(line + 1, last - 1)].end)]
        if REGISTER.search(near) or REGISTER.search(page.text, page.lines[line].start, match.start()):
            _add(candidates, match.group(), span, "register", 0.25)
        if line >= last - FOOT and last > FOOT:
            _add(candidates, match.group(), span, "footer", 0.15)


def _letterheads(page: Page) -> list[tuple[int, LineSpan]]:
    """What looks like a name in the first lines of the text, and of each attachment."""
    found = []
    heads = [0] + [i + 1 for i, line in enumerate(page.lines) if page.text.startswith(ATTACHMENT, line.start)]
    for head in heads:
        for rank, number in enumerate(range(head, min(head + TOP, len(page.lines)))):
            if number in page.quoted:
                continue
            found += [(rank, cell) for cell in page.cells(number) if looks_like_name(page.of(cell))]
    return found


def _address_lines(page: Page) -> list[LineSpan]:
    """What stands before the first comma, dot or dash of a line that is a whole address, in the letterhead or footer."""
    found = []
    last = len(page.lines)
    for number in sorted({*range(min(TOP, last)), *range(max(last - FOOT, 0), last)}):
        line = page.lines[number]
        text = page.of(line)
        part = PART.search(text)
        if part and number not in page.quoted and POSTCODE.search(text, part.end()):
            start = line.start + len(text) - len(text.lstrip())
            span = LineSpan(start, line.start + part.start())
            if looks_like_name(page.of(span)):
                found.append(span)
    return found


def _addressee(page: Page, issuer: str) -> LineSpan | None:
    """The name that heads an address block (name, street, place) of somebody else, where no label announces one."""
    for number in range(min(len(page.lines), ADDRESSES)):
        after = range(number + 1, min(number + 5, len(page.lines)))  # lines of the next column may stand between
        for cell in page.cells(number):
            if not looks_like_name(page.of(cell)) or name_key(page.of(cell)) == issuer:
                continue
            left = page.column(cell.start)
            block = [c for line in after for c in page.cells(line) if abs(page.column(c.start) - left) <= 1]
            if len(block) >= 2 and HOUSE.search(page.of(block[0])) and POSTCODE.search(page.of(block[1])):
                return cell
    return None


def _labelled(page: Page, labels: list[Label], kind: str) -> list[LineSpan]:
    """The names that labels of a kind announce: after it on its line, else in its column in the lines under it."""
    found = []
    for label in labels:
        if label.kind != kind or label.line in page.quoted:
            continue
        cells = page.cells(label.line)
        own = next((cell for cell in cells if cell.start <= label.start < cell.end), None)
        if own is None:
            continue
        rest = page.text[label.end : own.end]
        if rest.strip(" :.") and (":" in rest[:3] or label.kind == "issuer"):
            start = label.end + len(rest) - len(rest.lstrip(" :.-"))
            found += [_cut(page, LineSpan(start, own.end))]
        elif rest.strip() and label.start == own.start and (legal := LEGAL.match(rest.lstrip())):
            start = label.end + len(rest) - len(rest.lstrip())
            found.append(LineSpan(start, start + legal.end()))
        elif not rest.strip(" :."):
            right = next((cell for cell in cells if cell.start >= own.end), None)
            under = _under(page, own, label.line)
            chosen = right if right and rest.strip().startswith(":") and not _announces(page, right) else under
            found += [_cut(page, chosen)] if chosen else []
    return [span for span in found if looks_like_name(page.of(span)) or ENDS.search(page.of(span))]


def _cut(page: Page, span: LineSpan) -> LineSpan:
    """A name ends at its legal form, else at a comma, a dash or a full stop."""
    text = page.of(span)
    if attention := ATTENTION.match(text):
        span = LineSpan(span.start + attention.end(), span.end)
        text = page.of(span)
    legal = LEGAL.match(text)
    if legal:
        return LineSpan(span.start, span.start + legal.end())
    end = re.search(r"\s[-–|(]\s?|[,;(]|\.\s", text)
    return LineSpan(span.start, span.start + end.start()) if end else span


def _announces(page: Page, cell: LineSpan) -> bool:
    return page.of(cell).rstrip().endswith(":")


def _under(page: Page, own: LineSpan, line: int) -> LineSpan | None:
    """The cell that begins in the same column in the next lines."""
    left = page.column(own.start)
    for number in range(line + 1, min(line + 4, len(page.lines))):
        for cell in page.cells(number):
            if abs(page.column(cell.start) - left) <= 3:
                return cell
    return None


def _domains(page: Page, sender: str, candidates: dict[str, IssuerCandidate]) -> None:
    """Names that a mail or web address of the text, or the sender's, is made of."""
    named = list(dict.fromkeys(domain_key(match[1]) for match in DOMAIN.finditer(page.text)))[:MANY]
    domains = [(domain, "web or mail domain", 0.3) for domain in named]
    if "@" in sender:
        domains.append((domain_key(sender.rpartition("@")[2]), "sender's domain", 0.35))
    for key, candidate in candidates.items():
        squeezed = key.replace(" ", "")
        for domain, reason, weight in domains:
            if not domain or len(squeezed) < 3:
                continue
            if squeezed == domain:
                candidate.reasons[reason] = weight
            elif min(len(squeezed), len(domain)) >= 4 and (squeezed.startswith(domain) or domain.startswith(squeezed)):
                candidate.reasons.setdefault(reason, weight * 0.7)


def _repeated(page: Page, candidates: dict[str, IssuerCandidate]) -> None:
    """A name that comes again, above all in the last lines or beside a register number, is the issuer's."""
    foot = page.lines[max(len(page.lines) - FOOT, 0)].start if len(page.lines) > FOOT else len(page.text)
    for candidate in candidates.values():
        bare = ENDS.sub("", candidate.name)
        if len(bare) < 3:
            continue
        places = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(bare)}(?!\w)", page.text)][:20]
        if len(places) > 1:
            candidate.reasons["repeated"] = min(0.05 * len(places), 0.2)
        if any(place >= foot for place in places[1:]):
            candidate.reasons.setdefault("footer", 0.15)
        for place in places:
            line = page.lines[page.line_at(place)]
            if REGISTER.search(page.text, line.start, line.end):
                candidate.reasons.setdefault("register", 0.25)


def _addressed(page: Page, labels: list[Label], candidates: dict[str, IssuerCandidate], taken: set[str]) -> None:
    """Names of the recipient lose: those a recipient's label announces, and those that head a second address."""
    for key in taken:
        if key in candidates and "register" not in candidates[key].reasons:
            candidates[key].reasons["recipient"] = -0.7
    for label in labels:
        if label.kind != "recipient":
            continue
        line = page.lines[label.line]
        alone = not page.text[label.end : line.end].strip(" :.")  # then the name is in the next line
        end = page.lines[min(label.line + alone, len(page.lines) - 1)].end
        for candidate in candidates.values():
            inside = label.start < candidate.start < end
            if inside and abs(page.column(candidate.start) - page.column(label.start)) < BESIDE:
                candidate.reasons.setdefault("near a recipient's label", -0.3)
