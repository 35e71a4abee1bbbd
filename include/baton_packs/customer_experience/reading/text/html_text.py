"""HTML to text with the standard library: nothing is loaded, nothing is run."""

import re
from html import unescape
from html.parser import HTMLParser

_DROPPED = {"script", "style", "template", "noscript", "title", "object", "svg"}
_LINES = {"p", "div", "br", "tr", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "table", "hr", "pre", "blockquote",
          "section", "article", "header", "footer", "dt", "dd", "address", "form", "body"}  # fmt: skip
_CELLS = {"td", "th"}
_MAXIMUM = 2_000_000  # characters of markup
CUT = "HTML cut"


def text_of(html: str) -> tuple[str, str | None]:
    """Readable text: a line per block, cells two spaces apart; and a note when the markup could not be followed."""
    note = CUT if len(html) > _MAXIMUM else None
    reader = _Reader()
    try:
        reader.feed(html[:_MAXIMUM])
        reader.close()
        text = "".join(reader.pieces)
    except (AssertionError, ValueError, RecursionError):  # what html.parser raises for some broken declarations
        text, note = unescape(re.sub(r"<[^<>]{0,5000}>", " ", html[:_MAXIMUM])), "HTML broken, tags removed by pattern"
    lines = (re.sub(r"[^\S\n]{3,}", "  ", line).strip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip(), note


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.dropped: str | None = None
        self.preformatted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropped is None and tag in _DROPPED:
            self.dropped = tag
        elif tag in _LINES:
            self._line(tag)
        elif tag in _CELLS:
            self.pieces.append("  ")
        self.preformatted = self.preformatted or tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _LINES:
            self._line(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self.dropped:
            self.dropped = None
        elif tag in _LINES and tag != "br":
            self._line(tag)
        if tag == "pre":
            self.preformatted = False

    def handle_data(self, data: str) -> None:
        if self.dropped is None:
            self.pieces.append(data if self.preformatted else re.sub(r"\s+", " ", data))

    def _line(self, tag: str) -> None:
        # an unclosed <title> or <noscript> must not swallow the letter behind it
        if self.dropped not in (None, "script", "style"):
            self.dropped = None if tag == "body" else self.dropped
        if self.dropped is None and (tag == "br" or not (self.pieces and self.pieces[-1] == "\n")):
            self.pieces.append("\n")
