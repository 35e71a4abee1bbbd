"""SQL of Sigma rules: pySigma's SQLite backend with what DuckDB means by it.

SQLite's LIKE ignores case and DuckDB's does not, SQLite has no types and DuckDB has: texts are compared with their column in small
letters (`NAME__l`), a number's text is cast, a network is a range of addresses (`NAME__a`, 32 hexadecimal digits), a regular
expression is RE2's. A pattern without wildcards inside becomes `contains`, `starts_with` or `ends_with`, which need no escape.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, inet_pton
from typing import Any, ClassVar

from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.conversion.state import ConversionState
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaCasedString, SigmaString, SpecialChars

from baton_packs.incident_response.detection.taxonomy import ABSENT, ADDRESSES, NUMBERS

FieldValue = (
    Any  # sigma.conditions.ConditionFieldEqualsValueExpression, whose value is of the kind that the method is for
)
Word = Any  # sigma.conditions.ConditionValueExpression, likewise
_MAPPED = "0" * 20 + "f" * 4  # in front of an IPv4 address within IPv6
FULLTEXT = "raw_data"  # where words without a field are looked for


class EventsBackend(sqliteBackend):
    """Turns a rule into one SQL expression over the events, see the module."""

    null_safe_expression: ClassVar[str] = "COALESCE({expr}, FALSE)"

    def __init__(self, pipeline: Any) -> None:
        """Take a pySigma pipeline that has named the columns."""
        super().__init__(pipeline, fulltext_field=FULLTEXT)

    def finalize_query_default(self, rule: Any, query: str, index: int, state: ConversionState) -> str:
        """The condition alone: all rules go over the events together."""
        return query

    def convert_condition_field_eq_val(self, cond: FieldValue, state: ConversionState) -> Any:
        """A field that the events do not carry equals nothing but `null`."""
        if not cond.field.startswith(ABSENT):
            return super().convert_condition_field_eq_val(cond, state)
        return "TRUE" if matches_absence(cond.value) else "FALSE"

    def convert_condition_field_eq_val_str(self, cond: FieldValue, state: ConversionState) -> str:
        """Without regard to case."""
        return pattern(_text(cond.field), cond.value.lower())

    def convert_condition_field_eq_val_str_case_sensitive(self, cond: FieldValue, state: ConversionState) -> str:
        """`cased`: as written."""
        return pattern(_text(cond.field, cased=True), cond.value)

    def convert_condition_field_eq_val_num(self, cond: FieldValue, state: ConversionState) -> str:
        """A number in a text is compared as text: a cast of it might fail."""
        number = str(cond.value)
        return f"{cond.field} = {number}" if cond.field in NUMBERS else f"{_text(cond.field)} = '{number}'"

    def convert_condition_field_eq_val_bool(self, cond: FieldValue, state: ConversionState) -> str:
        """No column of the events is a flag."""
        raise SigmaFeatureNotSupportedByBackendError(f"column {cond.field} holds no true or false")

    def convert_condition_field_eq_val_re(self, cond: FieldValue, state: ConversionState) -> str:
        """With regard to case, unless the flag `i` says otherwise."""
        return f"regexp_matches({_text(cond.field, cased=True)}, '{self.convert_value_re(cond.value, state)}')"

    def convert_condition_field_eq_val_cidr(self, cond: FieldValue, state: ConversionState) -> str:
        """Every address of the network, however it is written."""
        if cond.field not in ADDRESSES:
            raise SigmaFeatureNotSupportedByBackendError(f"cidr: column {cond.field} holds no addresses")
        network = ip_network(cond.value.cidr, strict=False)
        low, high = digits(network.network_address), digits(network.broadcast_address)
        return f"{cond.field}__a BETWEEN '{low}' AND '{high}'"

    def convert_condition_field_compare_op_val(self, cond: FieldValue, state: ConversionState) -> str:
        """Of a text only what is a number compares."""
        value = cond.field if cond.field in NUMBERS else f"TRY_CAST({cond.field} AS DOUBLE)"
        return f"{value} {self.compare_operators[cond.value.op]} {cond.value.number}"

    def convert_condition_field_eq_field(self, cond: FieldValue, state: ConversionState) -> str:
        """Two fields of an event, without regard to case."""
        if cond.value.field.startswith(ABSENT):
            return "FALSE"
        left, right = _text(cond.field), _text(cond.value.field)
        if cond.value.starts_with and cond.value.ends_with:
            return f"contains({left}, {right})"
        if cond.value.starts_with:
            return f"starts_with({left}, {right})"
        return f"ends_with({left}, {right})" if cond.value.ends_with else f"{left} = {right}"

    def convert_condition_field_eq_val_timestamp_part(self, cond: FieldValue, state: ConversionState) -> str:
        """Hours and days are nobody's: events carry UTC, not the place's time."""
        raise SigmaFeatureNotSupportedByBackendError(
            "modifiers minute, hour, day, week, month and year are not supported"
        )

    def convert_condition_val_str(self, cond: Word, state: ConversionState) -> str:
        """A word anywhere in the log line."""
        cased = isinstance(cond.value, SigmaCasedString)
        value = cond.value if cased else cond.value.lower()
        return pattern(_text(FULLTEXT, cased=cased), _anywhere(value))

    def convert_condition_val_num(self, cond: Word, state: ConversionState) -> str:
        """A number's digits anywhere in the log line."""
        return f"contains({_text(FULLTEXT)}, '{cond.value}')"

    def convert_condition_val_re(self, cond: Word, state: ConversionState) -> str:
        """A regular expression anywhere in the log line."""
        return f"regexp_matches({FULLTEXT}, '{self.convert_value_re(cond.value, state)}')"

    def convert_correlation_rule_from_template(self, rule: Any, correlation_type: Any, method: Any) -> list[str]:
        """Correlations are counted over the rules' matches, see `correlation`."""
        return [""]


def matches_absence(value: object) -> bool:
    """Whether a field that is not there has this value: null, or `exists: false`."""
    from sigma.types import SigmaExists, SigmaNull

    return isinstance(value, SigmaNull) or (isinstance(value, SigmaExists) and not value)


def pattern(text: str, value: SigmaString) -> str:
    """The SQL that a text (an expression) has a value in which `*` and `?` are wildcards."""
    parts = list(value.s)
    star = SpecialChars.WILDCARD_MULTI
    first, last = bool(parts) and parts[0] == star, len(parts) > 1 and parts[-1] == star
    middle = parts[first : len(parts) - last]
    if parts == [star]:
        return f"{text} IS NOT NULL"
    if all(isinstance(part, str) for part in middle):
        said = _quoted("".join(map(str, middle)))
        if first and last:
            return f"contains({text}, {said})"
        if first or last:
            return f"{'ends_with' if first else 'starts_with'}({text}, {said})"
        return f"{text} = {said}"
    return f"{text} LIKE {_quoted(''.join(map(_escaped, parts)))} ESCAPE '\\'"


def _anywhere(value: SigmaString) -> SigmaString:
    star = SpecialChars.WILDCARD_MULTI
    value = value if value.startswith(star) else star + value
    return value if value.endswith(star) else value + star


def _escaped(part: object) -> str:
    if isinstance(part, SpecialChars):
        return "%" if part == SpecialChars.WILDCARD_MULTI else "_"
    if not isinstance(part, str):  # a placeholder that nobody filled in
        raise SigmaFeatureNotSupportedByBackendError(
            f"placeholder {part} has no value; modifier expand is not supported"
        )
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(field: str, *, cased: bool = False) -> str:
    if field in NUMBERS:
        return f"CAST({field} AS VARCHAR)"
    return field if cased else f"{field}__l"


def digits(address: IPv4Address | IPv6Address) -> str:
    """An address as 32 hexadecimal digits, IPv4 as mapped into IPv6, so that texts sort as addresses do."""
    return f"{_MAPPED if address.version == 4 else ''}{address.packed.hex()}"


def address_digits(text: object) -> str | None:
    """`digits` of an address as events write it; None where it is none."""
    written = str(text)
    try:
        return f"{_MAPPED}{inet_pton(AF_INET, written).hex()}"
    except (OSError, ValueError):  # most are IPv4 as everybody writes it; the others take ten times as long
        pass
    try:
        return digits(ip_address(written))
    except ValueError:
        return None
