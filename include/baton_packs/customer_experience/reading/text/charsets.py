"""Bytes to text when the declared character set is missing, wrong or unknown."""

import codecs
import re

# Python codecs that are no character sets of documents: slow (punycode is quadratic), or they interpret escapes
_NO_CHARSETS = {"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
_ONE_BYTE = {"ascii", "iso8859-1", "cp1252", "iso8859-15"}
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")


def decode(data: bytes, declared: str | None = None) -> tuple[str, str | None]:
    """Text of some bytes, and a note when the declared character set did not do.

    A one-byte set decodes anything, and other old ones much, so bytes that are valid UTF-8 beyond ASCII are taken as
    that whatever was declared, and UTF-16 only where a mark or every other byte says so. Else the guess is UTF-8, then
    Windows-1252 with replacement characters.
    """
    name = _known(declared)
    bom = next((codec for mark, codec in _BOMS if data.startswith(mark)), None)
    guess = bom or _wide(data) or ("utf-8" if _is_utf8(data) else None)
    if name is not None and not _overruled(name, data, guess):
        try:
            # what is called Latin-1 is Windows-1252 in practice; WHATWG reads it so, too
            wide = guess if name.startswith("utf-16") else None  # the bytes know which half comes first
            return data.decode("cp1252" if name == "iso8859-1" else wide or name), None
        except (UnicodeDecodeError, ValueError):
            pass
    if guess is None and name in _ONE_BYTE - {"ascii"}:
        return data.decode("cp1252", "replace"), None
    guess = guess or "cp1252"
    text = data.decode(guess, "replace")
    if data.isascii() and guess == "utf-8" and (declared is None or name in _ONE_BYTE):
        return text, None
    return text, f"{_said(declared)}, read as {guess}{' with replacement characters' if '�' in text else ''}"


def clean(text: str) -> str:
    """Text that every store takes: no NUL, no other control characters, no halves of characters, plain line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\u2028", "\n")
    text = _CONTROL.sub("", text)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _known(declared: str | None) -> str | None:
    """Canonical name of a declared character set; None if there is none or no such one."""
    if not declared or not _NAME.fullmatch(declared.strip()):
        return None
    try:
        found = codecs.lookup(declared.strip())
    except (LookupError, ValueError):
        return None
    # `_is_text_encoding` is what str.decode itself asks; "hex" and "zlib" are codecs, too
    name = found.name.replace("-", "_") if found.name.replace("-", "_") in _NO_CHARSETS else found.name
    return None if name in _NO_CHARSETS or not getattr(found, "_is_text_encoding", True) else name


def _overruled(name: str, data: bytes, guess: str | None) -> bool:
    """Whether the bytes themselves speak against a declared character set."""
    if name.startswith("utf-16"):
        return guess is None or not guess.startswith("utf-16")
    if name.startswith("utf"):  # anything else is hardly ever valid in it
        return False
    if guess == "utf-8" and data.isascii():
        return name in _ONE_BYTE or "A".encode(name) != b"A"  # EBCDIC makes nonsense of plain letters
    return guess is not None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: in western text every other byte is NUL."""
    head = data[:2000]
    if len(head) < 8 or head.count(0) < len(head) // 4:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < 5 * max(1, min(even, odd)):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _said(declared: str | None) -> str:
    if not declared:
        return "no character set declared"
    name = declared.strip()
    return f"declared character set {name}" if _NAME.fullmatch(name) else "invalid character set"
