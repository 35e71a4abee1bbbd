"""The page of one validation: Baton's summary, the quarantined rows, and below it Great Expectations' own rendering.

GX's page loads styles and scripts from eight foreign hosts and needs them to be readable. Its content is taken over tag
by tag through an allow-list (no script, no handler, no address but `#...`), which also keeps a cell that holds HTML
from being executed, and shown with the styles below: the file is complete in itself.
"""

import copy
import hashlib
import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from baton.contracts.check import ContractVerdict
from baton.contracts.engine import names_rows
from baton.data.pages import store_page
from baton.data.typed import Violation
from baton.errors import BatonError

SHOWN = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~+:-]*")
_TAGS = frozenset(
    ["article", "b", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6",
     "hr", "i", "li", "ol", "p", "pre", "section", "small", "span", "strong", "sub", "sup", "table", "tbody", "td",
     "tfoot", "th", "thead", "tr", "u", "ul"]
)  # fmt: skip
_MAIN = "col-md-10"  # class of the column that holds the results
_EMPTY = frozenset({"br", "hr"})
_GONE = frozenset({"a", "script", "style", "head", "nav", "footer", "title", "noscript", "template", "iframe", "svg"})
_STATUS = {
    "passed": "All rows meet the contract.",
    "quarantined": "Good rows went on; the rows below wait in quarantine.",
    "broken": "Nothing went on: all rows of the partition wait in quarantine.",
}
_CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def store(verdict: ContractVerdict, flow: str, partition: str, stage: str) -> str:
    """Write the page of a verdict.

    Returns:
        its address below `settings().reports_dir`: `contracts/<flow>/<partition>/<stage>-<digest>.html`; in
        the partition, `:` is written `-`.

    Raises:
        BatonError: flow, partition or stage cannot name a file.
    """
    for name in (flow, partition, stage):
        if not _NAME.fullmatch(name) or ".." in name:
            raise BatonError(f"{name!r} cannot be part of a page's address: letters, digits and _ . ~ + : - only")
    page = render_page(verdict, flow, partition)
    digest = hashlib.sha256(page.encode()).hexdigest()[:16]
    return store_page(f"contracts/{flow}/{partition.replace(':', '-')}/{stage}-{digest}.html", page)


def first(violations: list[Violation]) -> list[Violation]:
    """Those of the first rows, as many as a page shows."""
    rows = set(list(dict.fromkeys((one.row, one.row_sha) for one in violations))[:SHOWN])
    return [one for one in violations if (one.row, one.row_sha) in rows]


def render_page(verdict: ContractVerdict, flow: str = "", partition: str = "") -> str:
    """Return the page as one HTML text without foreign addresses; personal values of class `direct` are masked."""
    spec = verdict.spec
    title = f"{spec.contract} v{spec.version}"
    facts = {
        "Flow": flow, "Partition": partition, "Owner": spec.owner, "Rows in": f"{verdict.rows_in:,}",
        "Good": f"{verdict.rows_good:,}", "Quarantined": f"{verdict.rows_quarantined:,}",
    }  # fmt: skip
    parts = [
        f"<h1>Contract {_text(title)}</h1>",
        f'<p class="dim">{_text(spec.description)}</p>',
        f'<p><span class="verdict {verdict.status}">{verdict.status}</span> {_STATUS[verdict.status]}</p>',
        _listed("failures", verdict.aggregate_failures),
        '<dl class="facts">',
        *(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items() if value),
        "</dl>",
        *_notes(verdict),
        *_rows(verdict),
        "<h2>Validation by Great Expectations</h2>",
        f'<div class="gx">{_rendered_by_gx(verdict, partition)}</div>',
    ]
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{_text(title)} {_text(partition)}: {verdict.status}</title>'
        f"<style>{_CSS}</style></head><body>\n"
    )
    return head + "\n".join(part for part in parts if part) + "\n</body></html>\n"


def _text(value: object) -> str:
    return html.escape(str(value))


def _listed(kind: str, sentences: list[str]) -> str:
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _notes(verdict: ContractVerdict) -> Iterator[str]:
    if verdict.dropped_columns:
        names = ", ".join(f"<code>{_text(name)}</code>" for name in verdict.dropped_columns)
        yield f"<p>Dropped, because the contract does not know them: {names}.</p>"
    if verdict.info:
        yield f"<h2>For information</h2>{_listed('info', verdict.info)}"


def _rows(verdict: ContractVerdict) -> Iterator[str]:
    groups: dict[tuple[int, str], list[Violation]] = {}
    for violation in verdict.violations:
        groups.setdefault((violation.row, violation.row_sha), []).append(violation)
    if not groups:
        return
    of = f", the first {SHOWN} of {verdict.rows_bad:,}" if verdict.rows_bad > SHOWN else ""
    key = ", ".join(verdict.spec.key)
    yield f"<h2>Rows that break a rule{of}</h2>"
    yield (
        f'<div class="wide"><table><thead><tr><th>Row</th><th>{_text(key)}</th><th>Rule</th><th>Column</th>'
        "<th>Value</th><th>What to do</th></tr></thead><tbody>"
    )
    for violations in list(groups.values())[:SHOWN]:
        for number, violation in enumerate(violations):
            span = f' rowspan="{len(violations)}"' if len(violations) > 1 else ""
            first = (
                f'<td class="number"{span}>{violation.row:,}</td><td class="value"{span}>{_cell(violation.key)}</td>'
            )
            yield (
                f"<tr>{first if number == 0 else ''}<td>{_text(violation.rule)}</td>"
                f"<td>{_text(violation.column or '')}</td>"
                f'<td class="value">{_cell(violation.value)}</td>'
                f"<td>{_text(violation.advice)}</td></tr>"
            )
    yield "</tbody></table></div>"


def _cell(value: str | None) -> str:
    if value is None:
        return '<span class="dim">empty</span>'
    return _text(value[:200] + ("…" if len(value) > 200 else ""))


# --- what Great Expectations shows --------------------------------------------------------------------------


def _rendered_by_gx(verdict: ContractVerdict, partition: str) -> str:
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    result = copy.deepcopy(verdict.gx_result)
    _complete(result, verdict, partition)
    loaded = expectationSuiteValidationResultSchema.load(result)
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(loaded)
    cleaner = _Cleaner()
    cleaner.feed(DefaultJinjaPageView().render(document))
    cleaner.close()
    return cleaner.text()


def _complete(result: dict[str, Any], verdict: ContractVerdict, partition: str) -> None:
    """Say in GX's result what its renderer asks for and the first pass (BOOLEAN_ONLY) leaves out."""
    for outcome in result["results"]:
        config = outcome["expectation_config"]
        every_row = config["kwargs"].get("mostly", 1) == 1 and names_rows(config["type"])
        if outcome["success"] and every_row:  # that it is met means that no row breaks it
            outcome["result"].setdefault("unexpected_percent", 0.0)
    asset = {"data_asset_name": partition or verdict.contract}
    version = result["meta"].get("great_expectations_version")
    result["meta"] = {"great_expectations_version": version, "batch_spec": asset, "run_id": {"run_name": partition}}


class _Cleaner(HTMLParser):
    """Copies allowed tags of GX's main column and nothing else."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._skipping = 0

    def text(self) -> str:
        """What was copied, every tag closed.

        Raises:
            BatonError: GX's page has no main column where this version of GX has it.
        """
        if not self._out:
            raise BatonError("the page of Great Expectations is laid out differently: Baton needs the pinned version")
        return "".join(self._out) + "".join(f"</{tag}>" for tag in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _GONE:
            self._skipping += 1
        elif not self._skipping and tag in _TAGS and (self._open or _MAIN in (dict(attrs).get("class") or "")):
            self._out.append(f"<{tag}{''.join(self._kept(attrs))}>")
            if tag not in _EMPTY:
                self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _GONE:
            self._skipping = max(0, self._skipping - 1)
        elif not self._skipping and tag in self._open:
            while (last := self._open.pop()) != tag:
                self._out.append(f"</{last}>")
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._open and not self._skipping:
            # layout between tags says nothing, and would keep an empty heading from being hidden
            self._out.append(_text(data) if data.strip() else " " * ("\n" not in data))

    @staticmethod
    def _kept(attrs: list[tuple[str, str | None]]) -> Iterator[str]:
        for name, value in attrs:
            if name in {"class", "id", "colspan", "rowspan"} or (name == "href" and (value or "").startswith("#")):
                yield f' {name}="{_text(value or "")}"'
