"""Words by which a message presses, swears to secrecy or announces another account, in four languages."""

import re
from functools import lru_cache

from baton_packs.customer_experience.fields.page import fold

READ = 20_000  # characters of a text that are looked at together, half of them again with the next ones
SHOUTED = 0.15  # a subject in capitals, or two exclamation marks in a row

# phrases in lower case without accents, by how much one alone says
PHRASES: dict[float, str] = {
    0.5: """wire transfer immediately|keep this between us|keep this confidential|do not tell anyone|don't tell anyone|tell no one
        |strictly confidential|do not discuss this|don't discuss this|do not call me|don't call me|cannot be reached by phone
        |can't talk right now|gift cards|gift card codes|new bank details|our new bank account|changed our bank|change of bank
        |updated bank details|bank details have changed|new account details|use the new account|use this account instead
        |different account|our new iban|account has changed|bank account has changed|bypass the usual|skip the usual
        |neue bankverbindung|bankverbindung hat sich geandert|geanderte bankverbindung|neue kontoverbindung|neue iban
        |konto hat sich geandert|streng vertraulich|absolut vertraulich|sprechen sie mit niemandem|behalten sie das fur sich
        |nouvelles coordonnees bancaires|coordonnees bancaires ont change|nouveau compte|nouvel iban|nouveau rib
        |strictement confidentiel|n'en parlez a personne|restez discret|gardez cela pour vous
        |nieuwe bankgegevens|nieuw rekeningnummer|nieuwe rekening|gewijzigde bankgegevens|strikt vertrouwelijk
        |vertel het niemand|onder ons houden|bankgegevens zijn gewijzigd|rekeningnummer is gewijzigd""",
    0.35: """urgent|urgently|immediately|immediate payment|immediate action|right away|asap|as soon as possible|final notice
        |final reminder|last reminder|last warning|legal action|debt collection|within 24 hours|within 48 hours
        |within the hour|before end of day|by end of day|end of business today|by close of business|today before|account will be suspended
        |account will be closed|service will be suspended|confidential|discreetly|secret|time sensitive|without delay|do not delay
        |dringend|dringlich|eilig|eilt|sofort|umgehend|unverzuglich|letzte mahnung|letzte erinnerung|noch heute
        |innerhalb von 24 stunden|rechtliche schritte|inkasso|vertraulich|diskret|konto wird gesperrt
        |tres urgent|urgence|immediatement|sans delai|dernier rappel|dernier avertissement|mise en demeure|sous 24 heures|des que possible
        |aujourd'hui meme|avant ce soir|confidentiel|poursuites|compte sera suspendu|au plus vite
        |spoed|dringende|onmiddellijk|per direct|direct betalen|laatste aanmaning|laatste herinnering|binnen 24 uur|vandaag nog
        |zo snel mogelijk|vertrouwelijk|incassobureau|rekening wordt geblokkeerd""",
    0.2: """overdue|past due|penalty|late fee|avoid penalties|avoid interruption|act now|at once|deadline today|the ceo|our ceo
        |managing director asked|i am in a meeting|i'm in a meeting|am travelling|trust you|counting on you
        |uberfallig|saumniszuschlag|mahngebuhr|mahnung|geschaftsfuhrung bittet|bin in einer besprechung|verlasse mich auf sie
        |en retard|penalites|retard de paiement|je compte sur vous|suis en reunion
        |achterstallig|aanmaning|boete|ik reken op je|ik reken op u|zit in een vergadering|betalingsachterstand""",
}
WEIGHTS = {" ".join(phrase.split()): weight for weight, phrases in PHRASES.items() for phrase in phrases.split("|")}
PATTERN = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, WEIGHTS), key=len, reverse=True))})(?!\w)")


@lru_cache(maxsize=1000)
def urgency(subject: str, text: str) -> float:
    """How much a message presses, 0..1: `1 - prod(1 - weight)` over the distinct phrases in it.

    Of a long text it is the most that any window presses: a letter of up to 10,000 characters counts as if it came alone,
    whatever stands before and behind it.
    """
    starts = range(0, max(1, len(text) - READ // 2), READ // 2)
    return max(_urgency(subject, text[start : start + READ]) for start in starts)


def _urgency(subject: str, text: str) -> float:
    plain = " ".join(fold(f"{subject}\n{text}").replace("’", "'").split())
    calm = 1.0
    for phrase in set(PATTERN.findall(plain)):
        calm *= 1.0 - WEIGHTS[phrase]
    letters = [c for c in subject if c.isalpha()]
    if (len(letters) > 8 and sum(c.isupper() for c in letters) > 0.7 * len(letters)) or "!!" in subject + text:
        calm *= 1.0 - SHOUTED
    return round(1.0 - calm, 4)
