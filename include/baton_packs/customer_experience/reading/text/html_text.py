"""HTML to text by libxml2, as a stream of events: nothing is loaded, nothing is run, no tree is built.

The time grows with the markup, whatever is unclosed in it. Only an end tag that nothing began is looked for among all that
is open; therefore the number of tags has a limit, too.
"""

import re
from itertools import islice

from lxml import etree

_DROPPED = {"script", "style", "template", "noscript", "title", "object", "svg", "iframe", "noembed"}
_LINES = {"p", "div", "br", "tr", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "table", "hr", "pre", "blockquote",
          "section", "article", "header", "footer", "dt", "dd", "address", "form", "body"}  # fmt: skip
_CELLS = {"td", "th"}
_MAXIMUM = 2_000_000  # characters of markup
_TAGS = 40_000  # a long newsletter has 5,000
CUT = "HTML cut"


def text_of(html: str) -> tuple[str, str | None]:
    """Readable text: a line per block, cells two spaces apart; and a note when not all of the markup was read."""
    beyond = next(islice(re.finditer("<", html), _TAGS, None), None)
    markup = html[: min(_MAXIMUM, len(html) if beyond is None else beyond.start())]
    reader = _Reader()
    parser = etree.HTMLParser(target=reader)
    parser.feed(markup)
    parser.close()
    lines = (re.sub(r"[^\S\n]{3,}", "  ", line).strip() for line in "".join(reader.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip(), CUT if len(markup) < len(html) else None


class _Reader:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.dropped: str | None = None
        self.preformatted = False

    def start(self, tag: str, attributes: object) -> None:
        if self.dropped is None and tag in _DROPPED:
            self.dropped = tag
        elif tag in _LINES:
            self._line(tag)
        elif tag in _CELLS:
            self.pieces.append("  ")
        self.preformatted = self.preformatted or tag == "pre"

    def end(self, tag: str) -> None:
        if tag == self.dropped:
            self.dropped = None
        elif tag in _LINES and tag != "br":
            self._line(tag)
        if tag == "pre":
            self.preformatted = False

    def data(self, text: str) -> None:
        if self.dropped is None:
            self.pieces.append(text if self.preformatted else re.sub(r"\s+", " ", text))

    def close(self) -> None:
        """What the parser calls at the end."""

    def _line(self, tag: str) -> None:
        # an unclosed <noscript> must not swallow the letter behind it
        if self.dropped not in (None, "script", "style"):
            self.dropped = None if tag == "body" else self.dropped
        if self.dropped is None and (tag == "br" or not (self.pieces and self.pieces[-1] == "\n")):
            self.pieces.append("\n")
