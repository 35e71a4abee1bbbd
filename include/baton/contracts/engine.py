"""Great Expectations itself: one validation per hand-over, in two passes, its results without what is bulky."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from baton.contracts.findings import Rule, first_line, raised
from baton.data.cells import BOOKKEEPING, MASKED
from baton.errors import SpecError
from baton.jsontext import to_json

if TYPE_CHECKING:
    import pandas as pd

    from baton.specs.contract import ContractSpec


LARGE = 100_000  # rows from which time goes into copying columns, not into GX's fixed cost
FEW = 64  # different texts in a sample of a column
_BY_VALUE = tuple(
    f"expect_column_values_to_{what}" for what in ("be_in_set", "not_be_in_set", "not_be_null", "be_null")
)
_COMPLETE = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
IN_PARTS = "which is not merged over the parts of a batch (`include/docs/how-to/contract.md`): leave the rule out, or keep the batch in one part"
_SAMPLES = ("partial_unexpected_list", "partial_unexpected_counts", "observed_value", "details")
_BULKY = ("unexpected_list", "unexpected_index_list", "unexpected_index_query", "partial_unexpected_index_list")


@lru_cache(maxsize=1)
def _context() -> Any:
    """An ephemeral GX context, made once per process."""
    import logging
    import os

    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # GX may report its use to its makers unless told otherwise
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # its import logs hundreds of lines
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from tqdm.auto import tqdm

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("great_expectations.")]:
        logging.getLogger(name).setLevel(logging.NOTSET)  # one of its modules asks for INFO by itself
    tqdm.monitor_interval = 0  # GX's switched-off progress bars would start a thread, in a process that may fork
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def warm() -> None:
    """Import GX and make its context: for processes that fork others."""
    _context()


def names_rows(expectation: str) -> bool:
    """True for an expectation of GX on single rows, False for one on a column or table as a whole."""
    from great_expectations.expectations import expectation as kinds
    from great_expectations.expectations.registry import get_expectation_impl

    by_row = (kinds.ColumnMapExpectation, kinds.ColumnPairMapExpectation, kinds.MulticolumnMapExpectation)
    return issubclass(get_expectation_impl(expectation), by_row)


def validate(frame: pd.DataFrame, spec: ContractSpec, rules: list[Rule]) -> tuple[Any, list[tuple[Rule, Any]]]:
    """Both passes; returns GX's result (failed expectations COMPLETE) and (rule, outcome) of those that failed."""
    _context()
    named = list(enumerate(rules))
    # the page shows what a median or a row count was also where it is met, unless that costs time
    outcomes = judged(frame, spec, named, lambda n, rule: len(frame) <= LARGE and not names_rows(rule.type))
    return result_of(spec, [outcomes[n] for n, _ in named]), [
        (r, outcomes[n]) for n, r in named if not outcomes[n].success
    ]


def judged(
    frame: pd.DataFrame, spec: ContractSpec, named: list[tuple[int, Rule]], explained: Callable[[int, Rule], bool]
) -> dict[int, Any]:
    """GX's outcomes by number of the rule, COMPLETE where one failed or is to be `explained`."""
    with _nothing_left():
        first = _run(frame, spec, named, "BOOLEAN_ONLY")
        again = [
            (n, rule) for n, rule in named if not raised(first[n]) and (not first[n].success or explained(n, rule))
        ]
        return first | _run(frame, spec, again, _COMPLETE)


@contextmanager
def _nothing_left() -> Iterator[None]:
    """Have no rows stay with what GX leaves behind.

    Its engine and validator hold each other, and errors that it has caught hold the calls that led to them with all their
    frames. Such circles wait for Python's collector, which looks at what is older than a validation once in many of them. So
    nothing gets old meanwhile, and the youngest are looked at in the end: that costs a millisecond or so.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
        gc.collect(0)


def concluded(spec: ContractSpec, number: int, rule: Rule, metrics: Mapping[str, Any]) -> Any:
    """GX's outcome of a rule for metrics that were gathered over many frames, by GX's names; no list of rows is in it.

    Args:
        metrics: `*` at the beginning of a name stands for GX's name of what the rule asks of a row.

    Raises:
        SpecError: GX asks for a metric that is not among them.
    """
    from great_expectations.execution_engine import PandasExecutionEngine

    engine = PandasExecutionEngine()
    expectation = _configurations(spec, [(number, rule)])[0].to_domain_obj()
    asked = {"execution_engine": engine, "runtime_configuration": {"result_format": _COMPLETE}}
    wanted = expectation.get_validation_dependencies(**asked).metric_configurations
    kind = getattr(expectation, "map_metric", "")
    metrics = {name.replace("*", kind): value for name, value in metrics.items()}
    if unknown := sorted(name for name in wanted if name not in metrics and not name.endswith("_index_query")):
        raise SpecError(
            f"contract {_title(spec)}, rule {rule.name}: {rule.type} needs {', '.join(unknown)}; {IN_PARTS}"
        )
    given = {one.id: metrics.get(name) for name, one in wanted.items()}
    outcome = expectation.metrics_validate(
        given, runtime_configuration={"result_format": _COMPLETE}, execution_engine=engine
    )
    outcome.result.pop("partial_unexpected_counts", None)  # of a sample they would say something else
    return outcome


def plain(values: list[Any]) -> list[Any]:
    """Cells as they stand in a result of GX that is written as JSON."""
    from great_expectations.util import convert_to_json_serializable

    return [convert_to_json_serializable(value) for value in values]


def result_of(spec: ContractSpec, ordered: list[Any]) -> Any:
    """GX's result of a validation, of its outcomes in the order of the rules."""
    from great_expectations import __version__
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.validator.validator import calc_validation_statistics

    statistics = calc_validation_statistics(ordered)
    counted: dict[str, Any] = {"success": statistics.success, "statistics": statistics._asdict()}
    counted |= {"suite_name": _title(spec), "meta": {"great_expectations_version": __version__}}
    return ExpectationSuiteValidationResult(results=ordered, **counted)


def _run(frame: pd.DataFrame, spec: ContractSpec, rules: list[tuple[int, Rule]], result_format: Any) -> dict[int, Any]:
    """GX's results by number of the rule."""
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    outcomes: dict[int, Any] = {}
    for group in _groups(rules, len(frame)):
        # GX's engine and validator without a data source: that would fingerprint every batch, which nobody reads
        engine = PandasExecutionEngine()
        engine.load_batch_data(spec.contract, _seen_by(frame, [rule for _, rule in group]))
        validator = Validator(execution_engine=engine, data_context=_context())
        configurations = validator.process_expectations_for_validation(_configurations(spec, group))
        judged: list[Any] = validator.graph_validate(configurations, {"result_format": result_format})
        # GX returns results in an order of its own
        outcomes |= {int(outcome.expectation_config.meta["number"]): outcome for outcome in judged}
    if len(outcomes) != len(rules):
        raise SpecError(f"contract {_title(spec)}: Great Expectations judged {len(outcomes)} of {len(rules)} rules")
    return outcomes


def _groups(rules: list[tuple[int, Rule]], rows: int) -> list[list[tuple[int, Rule]]]:
    """Rules that share a batch: all of them, or by column where copying a wide batch is what costs time."""
    if rows <= LARGE:
        return [rules] if rules else []
    groups: dict[tuple[str, ...], list[tuple[int, Rule]]] = {}
    for number, rule in rules:
        groups.setdefault(tuple(rule.columns), []).append((number, rule))
    return list(groups.values())


def _seen_by(frame: pd.DataFrame, rules: list[Rule]) -> pd.DataFrame:
    """The columns that the rules need, side by side in memory: GX copies all it is given several times."""
    import pandas as pd

    texts = [str(rule.kwargs.get("row_condition") or "") for rule in rules]
    named = {column for rule in rules for column in rule.columns}
    # what an expectation on the whole table looks at is GX's business, unless it only counts rows
    whole = any(not rule.columns and not rule.type.startswith("expect_table_row_count") for rule in rules)
    whole = whole or any(rule.type == "expect_column_to_exist" for rule in rules)
    columns = [
        name
        for name in frame.columns
        if name not in BOOKKEEPING and (whole or name in named or any(name in text for text in texts))
    ]
    coded = len(frame) > LARGE and all(rule.type in _BY_VALUE for rule in rules)
    cells = {name: _coded(frame[name]) if coded else frame[name] for name in columns}
    return pd.DataFrame(cells, index=frame.index, copy=True)


def _coded(column: pd.Series) -> pd.Series:
    """A column of few texts as a categorical one: the same values, looked at by number and not one by one."""
    few = column.dtype == object and column.iloc[:: max(1, len(column) // 256)].nunique() <= FEW
    return column.astype("category") if few else column


def _configurations(spec: ContractSpec, rules: list[tuple[int, Rule]]) -> list[Any]:
    """The rules as GX's expectations, checked by GX.

    Raises:
        SpecError: GX does not know an expectation or an argument.
    """
    from great_expectations.core import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.registry import get_expectation_impl

    given = [
        {"type": rule.type, "kwargs": dict(rule.kwargs), "severity": rule.severity,
         "meta": {"rule": rule.name, "number": number}}
        for number, rule in rules
    ]  # fmt: skip
    try:
        for _, rule in rules:
            get_expectation_impl(rule.type)  # a suite logs a name that it does not know, and goes on without it
        return list(ExpectationSuite(name=_title(spec), expectations=given).expectation_configurations)
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise SpecError(f"contract {_title(spec)}: {first_line(error)}; see Great Expectations' gallery") from error


def _title(spec: ContractSpec) -> str:
    return f"{spec.contract} v{spec.version}"


def slim(result: Any, spec: ContractSpec) -> dict[str, Any]:
    """GX's result as JSON: samples stay, lists of all rows go, values of direct personal data are masked."""
    for outcome in result.results:
        for name in _BULKY:
            outcome.result.pop(name, None)
        config = outcome.expectation_config
        if spec.personal(Rule(config.type, config.kwargs, "", "", "").columns):
            for name in _SAMPLES:
                if name in outcome.result:
                    outcome.result[name] = [] if name.startswith("partial") else MASKED
    # plain JSON: GX's renderer cannot write NumPy's numbers
    slim: dict[str, Any] = json.loads(to_json(result.to_json_dict()))
    for outcome in slim["results"]:
        config = outcome["expectation_config"]
        hidden = spec.personal(Rule(config["type"], config["kwargs"], "", "", "").columns)
        info = outcome.get("exception_info") or {}
        for entry in [info, *info.values()]:
            if isinstance(entry, dict) and "exception_traceback" in entry:
                entry["exception_traceback"] = ""  # paths and code of this installation: the message is enough
                entry["exception_message"] = MASKED if hidden else entry.get("exception_message")
    return slim
