"""The words that announce a field in English, German, French and Dutch, found in one pass over a text."""

import re
from dataclasses import dataclass

from baton_packs.customer_experience.fields.page import Page, fold

WORD = re.compile(r"[^\W\d_]+")
GAP = 4  # characters between two words of one label

# phrases without accents, lower case; words of a phrase may be joined by anything short (`d'échéance`, `Rechnungs-Nr.`)
PHRASES: dict[str, str] = {
    "invoice_number": """invoice number|invoice no|invoice nr|invoice num|invoice id|invoice ref|invoice reference
        |tax invoice no|tax invoice number|inv no|inv number|bill number|bill no|receipt number|receipt no|document number
        |credit note number|credit note no|our invoice|statement no|statement number|memo no
        |rechnungsnummer|rechnungsnr|rechnungs nr|rechnungs nummer|rechnung nr|rechnung nummer|rechnung no|belegnummer
        |belegnr|beleg nr|rg nr|re nr|gutschriftnummer|gutschrift nr|gutschriftsnummer
        |facture n|facture no|facture numero|n facture|no facture|n de facture|no de facture|numero de facture|num facture
        |numero facture|facture num|avoir n|facture ref|reference facture
        |factuurnummer|factuurnr|factuur nr|factuur nummer|factuur no|factuur kenmerk|creditnota nr|creditfactuur nr""",
    "invoice": """invoice|tax invoice|proforma invoice|bill|receipt|payment receipt|credit note|statement|debit note|debit memo
        |fee note|abrechnung|afrekening|note d honoraires
        |rechnung|gutschrift|quittung|schlussrechnung|facture|avoir|factuur|creditnota|creditfactuur|nota|mahnung|reminder""",
    "order_number": """order number|order no|order nr|order id|order ref|order|purchase order|purchase order number
        |po number|po no|po|your order|our order
        |bestellnummer|bestellnr|bestell nr|auftragsnummer|auftragsnr|auftrags nr|auftrag nr|bestellung|auftrag|ihre bestellung
        |commande|commande n|n de commande|numero de commande|n commande|bon de commande
        |ordernummer|ordernr|bestelnummer|bestelnr|bestelling|uw bestelling""",
    "customer_number": """customer number|customer no|customer nr|customer id|customer ref|account ref|account reference|client number|client id|client no
        |member number|membership number|policy number|subscriber number
        |kundennummer|kundennr|kunden nr|kunden nummer|kd nr|kundenkonto|vertragskonto
        |numero client|numero de client|n client|n de client|code client|id client|reference client|numero d abonne
        |klantnummer|klantnr|klant nr|debiteurnummer|debiteurennummer|relatienummer|lidnummer|klant""",
    "account": """account number|account no|account nr|acct no|bank account|bank account number|account|a c no
        |kontonummer|kontonr|konto nr|kto nr|kto|bankkonto
        |numero de compte|n de compte|compte bancaire|compte n|rekeningnummer|rekeningnr|bankrekening|rekening""",
    "iban": "iban|iban no|iban nr|iban code|code iban|iban nummer",
    "reference": """reference|your reference|our reference|ref|ihr zeichen|unser zeichen|kenmerk|uw kenmerk|ons kenmerk
        |numero de dossier|dossier|votre reference|ticket|case number|serial number|serienummer|contract no|contract number|vertragsnummer|contractnummer|numero de contrat|id|bic|swift
        |phone|tel|telefon|telephone|telefoon|fax|mobile|portable""",
    "register": """vat no|vat number|vat id|vat reg no|vat registration|vat registration number|company no|company number
        |registered in england|registration number|registered office|regd office|cin|gstin|ein|abn|tax id|tin
        |ust id|ust idnr|ustid|ust id nr|umsatzsteuer id|steuernummer|steuer nr|handelsregister|registergericht|amtsgericht
        |hrb|hra|geschaftsfuhrer|vorstand|siege social|siret|siren|rcs|au capital|tva intracommunautaire
        |n de tva|n tva|numero de tva|kvk|kvk nummer|kvk nr|btw nummer|btw nr|btw nl|btw be|rpr|ondernemingsnummer""",
    "date": """date|invoice date|date of invoice|date of issue|issue date|issued|issued on|date issued|billing date|bill date
        |tax point|dated|document date|receipt date
        |datum|rechnungsdatum|ausstellungsdatum|belegdatum|ausgestellt am|rechnung vom|vom
        |date de facture|date facture|date de la facture|date d emission|date de facturation|emise le|emis le|en date du
        |factuurdatum|factuur datum|datum factuur|d d""",
    "due_date": """due date|due on|due by|due|payment due|payment due date|payable by|pay by|pay before|date due|payable until
        |amount due by|please pay by|deadline
        |fallig am|fallig|falligkeit|falligkeitsdatum|zahlbar bis|zahlbar bis zum|zahlungsziel|bis zum|spatestens
        |echeance|date d echeance|date echeance|date limite de paiement|date limite|a regler avant|a payer avant|payable le
        |vervaldatum|verval datum|vervaldag|te betalen voor|betalen voor|uiterlijk|voldoen voor|betaaldatum""",
    "other_date": """order date|date of order|delivery date|ship date|shipping date|date of supply|date of birth|start date
        |end date|period|billing period|service period|period from|check in|check out|departure|arrival|paid on|payment date
        |print date|date of delivery|valid until|expiry date|statement period|received on
        |lieferdatum|leistungsdatum|leistungszeitraum|bestelldatum|auftragsdatum|zeitraum|geburtsdatum|versanddatum|gultig bis
        |abrechnungszeitraum|bestellt am|geliefert am|bezahlt am
        |date de commande|date commande|date de livraison|date de la commande|periode|date de naissance|livree le|payee le
        |orderdatum|besteldatum|leverdatum|geboortedatum|leverdag|betaald op""",
    "payable": """total amount due|total due|amount due|balance due|balance|amount payable|total payable|to pay|please pay
        |outstanding|outstanding balance|amount outstanding|amount to pay|pay this amount|total to pay|new balance|amount owed
        |zu zahlen|zahlbetrag|zu zahlender betrag|offener betrag|noch zu zahlen|zahllast|endbetrag|falliger betrag
        |net a payer|somme a payer|reste a payer|montant a payer|total a payer|montant du|solde a payer|solde du|a payer
        |montant a regler|a regler|net a regler
        |te betalen|totaal te betalen|te voldoen|nog te betalen|openstaand bedrag|te betalen bedrag|verschuldigd bedrag""",
    "gross": """grand total|total incl vat|total incl|total including vat|total incl tax|total inc vat|total inc|gross total
        |gross amount|total gross|invoice total|total invoice|total amount|invoice amount|total with tax|amount incl vat
        |total invoice amount|total including tax|total inclusive of vat|gross|total charges|total for this invoice
        |gesamtbetrag|rechnungsbetrag|bruttobetrag|gesamtsumme|rechnungssumme|rechnungsendbetrag|gesamt brutto|summe brutto
        |endsumme|total brutto|brutto|gesamtbetrag brutto|betrag inkl mwst|gesamt inkl mwst|summe inkl mwst
        |total ttc|montant ttc|montant total ttc|total facture|total general|montant total|ttc|prix ttc|total de la facture
        |totaal incl btw|totaal incl|totaal inclusief btw|totaal inclusief|factuurtotaal|factuur totaal|totaalbedrag
        |eindtotaal|eindbedrag|factuurbedrag|bedrag incl btw|totaal factuur|totaal bedrag""",
    "total": """total|totals|sum|gesamt|summe|insgesamt|totaux|totaal|amount paid|total paid|payment received|sum total""",
    "amount": "amount|amount of|in the amount of|sum of|betrag|betrag von|hohe von|montant|montant de|bedrag|bedrag van|for|over",
    "net": """subtotal|sub total|net total|net amount|total net|total excl vat|total excl|total excluding vat|total before tax
        |total ex vat|net|taxable amount|amount excl vat|total without tax|total ex tax
        |zwischensumme|nettobetrag|netto|gesamt netto|summe netto|nettosumme|total netto|warenwert|gesamtbetrag netto
        |sous total|total ht|montant ht|montant total ht|total hors taxes|total h t|base ht|ht|total net ht
        |subtotaal|totaal excl btw|totaal excl|totaal exclusief btw|exclusief btw|excl btw|bedrag excl btw|grondslag
        |tussentotaal|totaal netto""",
    "tax": """vat amount|total vat|total tax|sales tax|tax|vat|gst|tax amount
        |mwst|ust|umsatzsteuer|mehrwertsteuer|zzgl mwst|mwst betrag|steuerbetrag|tva|total tva|montant tva|montant de la tva
        |btw|btw bedrag|totaal btw""",
    "part": """shipping|postage|discount|total discount|total savings|you saved|total quantity|total items|total hours
        |deposit|rabatt|versand|versandkosten|skonto|remise|frais de port|port|acompte|korting|verzendkosten|totaal aantal
        |total units|total weight|gesamtgewicht|previous balance|last payment|carried forward|ubertrag|report
        |total charges excluding vat|remaining credit|credit limit""",
    "issuer": """from|seller|sold by|supplier|issued by|vendor|service provider|provider|billed by|payable to|payee
        |in favor of|in favour of|beneficiary|account holder|account name|remit to|merchant|on behalf of|make payment to
        |verkaufer|absender|lieferant|rechnungssteller|kontoinhaber|zahlungsempfanger|empfangername|begunstigter
        |verkauft durch|aussteller
        |emetteur|vendeur|vendu par|fournisseur|prestataire|titulaire du compte|beneficiaire|a l ordre de|emis par
        |verkoper|leverancier|verkocht door|afzender|ten name van|t n v|tnv|begunstigde|rekeninghouder""",
    "recipient": """to|an|a|bill to|billed to|bill to address|billing address|invoice to|invoiced to|ship to|shipping address|sold to
        |customer|customer name|client|client name|attn|attention|deliver to|delivery address|guest name|buyer|customer details
        |rechnung an|rechnungsadresse|rechnungsempfanger|kunde|empfanger|lieferadresse|lieferanschrift|rechnungsanschrift
        |zu handen|z hd|zhd|kaufer|auftraggeber
        |facture a|adresse de facturation|adresse de livraison|livre a|destinataire|acheteur|nom de l abonne|a l attention de
        |nom du client
        |factuuradres|afleveradres|bezorgadres|aan|t a v|tav|ter attentie van|koper|klantnaam|factuur aan|afnemer""",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """An announcement of a field."""

    kind: str
    start: int
    end: int
    line: int
    words: int
    phrase: str


def _index() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    index: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for kind, phrases in PHRASES.items():
        for phrase in phrases.split("|"):
            words = tuple(phrase.split())
            index.setdefault(words[0], []).append((words, kind))
    for entries in index.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return index


INDEX = _index()


def find_labels(page: Page) -> list[Label]:
    """All labels of a text in order, the longest at each place; they do not overlap."""
    words = [(fold(match.group()), match.start(), match.end()) for match in WORD.finditer(page.text)]
    words.append(("", len(page.text), len(page.text)))
    found: list[Label] = []
    i = 0
    while i < len(words) - 1:
        taken, size = _at(page, words, i)
        if taken:
            found.append(taken)
        i += size
    return found


def _at(page: Page, words: list[tuple[str, int, int]], i: int) -> tuple[Label | None, int]:
    """The longest label that begins with word i, and how many words it uses (1 without one)."""
    first, start, end = words[i]
    entries = INDEX.get(first)
    merged = 0
    if entries is None and end - start == 1 and words[i + 1][1] - end == 1 and page.text[end] == " ":
        # letter-spaced capitals come out of a PDF as `I nvoice number`
        entries, merged = INDEX.get(first + words[i + 1][0]), 1
    for phrase, kind in entries or ():
        if kind == "recipient" and len(phrase[0]) <= 2 and len(phrase) == 1 and not _heads(page, start):
            continue  # `to` and `an` are words of every sentence
        last = i + merged + len(phrase) - 1
        if last >= len(words) - 1:
            continue
        following = list(enumerate(phrase))[1:]
        if all(words[i + merged + k][0] == word and _joined(page, words, i + merged + k) for k, word in following):
            line = page.line_at(start)
            return Label(kind, start, words[last][2], line, len(phrase), " ".join(phrase)), last - i + 1
    return None, 1


def _heads(page: Page, start: int) -> bool:
    """Whether a capital stands there and begins a line or a column."""
    before = page.text[max(start - 2, 0) : start]
    begins = len(before) != 2 or before[1] != " " or before[0] in " \n"
    return page.text[start].isupper() and begins and not before.strip()


def _joined(page: Page, words: list[tuple[str, int, int]], i: int) -> bool:
    """Whether word i follows the one before it closely, on the same line."""
    gap = page.text[words[i - 1][2] : words[i][1]]
    return len(gap) <= GAP and "\n" not in gap and not any(c.isdigit() for c in gap)
