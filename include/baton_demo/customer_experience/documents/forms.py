"""Forms of dates and amounts on simulated documents: each company has its own."""

from datetime import date

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
}


def day(value: date, form: str, language: str) -> str:
    """A date in one of the forms `yyyy-mm-dd`, `dd.mm.yyyy`, `d Month yyyy`, `Month d, yyyy` and alike."""
    month = _MONTHS[language].split()[value.month - 1]
    written = form.replace("yyyy", f"{value.year:04d}").replace("dd", f"{value.day:02d}")
    written = written.replace("mm", f"{value.month:02d}")
    return written.replace("d", str(value.day)).replace("Month", month)  # the month last: its name may hold a d


def money(cents: int, form: str, *, bare: bool = False) -> str:
    """An amount in the form of the example 1234.56, such as `£1,234.56` or `1.234,56 €`; bare: without the currency."""
    before, after = form[: form.index("1")], form[form.rindex("6") + 1 :]
    thousands, decimal = form[form.index("1") + 1], form[form.rindex("5") - 1]
    whole = f"{abs(cents) // 100:,}".replace(",", thousands)
    number = f"{'-' if cents < 0 else ''}{whole}{decimal}{abs(cents) % 100:02d}"
    return number if bare else f"{before}{number}{after}"
