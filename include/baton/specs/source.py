"""Sources: where a partition's rows come from (files or object store, drop folder, mailbox, SQL, HTTP)."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, RootModel, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from baton.specs.base import Column, Duration, Name, Seq, Spec, format_duration, named_by_key

Format = Literal["parquet", "csv", "json"]
_ANCHORED = re.compile(r"^(\{(landing|data|pack)\}/|/|[a-z][a-z0-9+.-]*://)")
PLACEHOLDERS = ("landing", "data", "pack", "partition", "date", "hour", "slot")


def known_placeholders(template: str, known: Sequence[str] = PLACEHOLDERS) -> str:
    """Checks a path: where it starts, and its placeholders.

    Raises:
        ValueError: it depends on the working directory, or a brace holds none of `known`.
    """
    if not _ANCHORED.match(template):
        raise ValueError("should start with {landing}/, {data}/, {pack}/, / or a scheme such as s3://")
    for found in re.findall(r"\{([^{}]*)\}", template):
        if found.split(":")[0] not in known:
            raise ValueError(f"{{{found}}} is no placeholder; there are " + ", ".join(f"{{{p}}}" for p in known))
    return template


Place = Annotated[str, AfterValidator(known_placeholders)]
LastingPlace = Annotated[str, AfterValidator(lambda text: known_placeholders(text, ("landing", "data", "pack")))]


class _Source(Spec):
    name: SkipJsonSchema[str] = Field(default="", description="set from the key in sources.yaml, never written there")
    folder: SkipJsonSchema[str] = Field(default="", exclude=True, description="the pack's folder, set when loaded")
    description: str = Field(min_length=1, description="what the rows are and who delivers them")
    step: Duration = Field(
        default=timedelta(hours=1), description="length of a partition, and of the windows in which drift is looked for"
    )

    @property
    def step_text(self) -> str:
        """The length of a partition as the YAML writes it, for a DAG's schedule."""
        return format_duration(self.step)


class ReplaySpec(Spec):
    """Recorded rows laid on the calendar, period after period, so that a schedule always finds data."""

    path: Place = Field(description="file of one partition; {slot:02d} is its number within the period, from 0")
    period: Duration = Field(description="length of the recording; it repeats after that")
    before: Duration | None = Field(
        default=None, description="so much of it lies before the set-up; null: two days, as the other recordings"
    )
    clock: Column | None = Field(
        default=None, description="column with seconds since the start of the recording; null: no time is laid out"
    )
    time: Column | None = Field(default=None, description="column that receives the calendar time made from `clock`")
    key: Column | None = Field(default=None, description="integer key column that must differ between repetitions")
    text_key: Column | None = Field(default=None, description="text key column that must differ between repetitions")
    keys_per_period: int = Field(
        default=0, ge=0, description="added to `key` once per repetition; at least the number of keys in the recording"
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.clock is None) != (self.time is None):
            raise ValueError("clock and time: give both or neither")
        if self.key is not None and self.keys_per_period == 0:
            raise ValueError("keys_per_period: say by how much `key` grows with each repetition")
        return self


class RecordedSource(_Source):
    """What arrives as files, and may have a history and a recording of the same columns."""

    history: LastingPlace | None = Field(
        default=None, description="one file with the rows before the first partition, for a first training"
    )
    replay: ReplaySpec | None = Field(default=None, description="recorded rows, used where nothing was delivered")

    @model_validator(mode="after")
    def _whole_slots(self) -> Self:
        if self.replay is not None and self.replay.period % self.step:
            raise ValueError("replay.period: should be a whole number of steps")
        return self


class FileSource(RecordedSource):
    """Files in a folder or an object store, one for each partition."""

    kind: Literal["file"]
    path: Place = Field(
        description="file of a partition, path or fsspec URI, with {landing} {data} {pack} {partition} "
        "{date} {hour}; `.*` takes any of the formats. {partition} is written 2026-11-20T09-00-00"
    )
    format: Format = Field(default="parquet", description="format of a file whose ending does not tell")


class _Documents(_Source):
    """Documents as they are, one row each: document_id, channel, name, received_at, content, size, problem."""

    max_bytes: int = Field(
        default=25_000_000, ge=1, description="a larger document becomes a row without content, problem `too_large`"
    )
    max_documents: int = Field(
        default=10_000, ge=1, description="a further one in a partition is a row without content, problem `not_read`"
    )
    max_batch_bytes: int = Field(
        default=1_000_000_000, ge=1, description="one that no longer fits: the same; what fits is held in memory"
    )


class FolderSource(_Documents, RecordedSource):
    """A drop folder for each partition: every file in it and below is a document, whatever its format."""

    kind: Literal["folder"]
    path: str = Field(
        description="folder of a partition, path or fsspec URI, with {landing} {data} {pack} {partition} {date} "
        "{hour}; {partition} is written 2026-11-20T09-00-00"
    )
    format: Format = Field(default="parquet", description="of recording and history, if their ending does not tell")

    @field_validator("path")
    @classmethod
    def _of_one_partition(cls, value: str) -> str:
        if "*" in value or not re.search(r"\{(partition|date)", value):
            raise ValueError("should name the partition's own folder with {partition} or {date}, and no `*`: else the "
                             "same documents would be taken in every partition")  # fmt: skip
        return known_placeholders(value)


class MailboxSource(_Documents):
    """The mails that arrived in a partition's time, from a folder of an IMAP mailbox; nothing there is changed."""

    kind: Literal["mailbox"]
    conn_id: str = Field(min_length=1, description="Airflow IMAP connection: host, port, login, password")
    mailbox: str = Field(default="INBOX", min_length=1, description="folder; letters beside ASCII in modified UTF-7")
    timeout: Duration = Field(default=timedelta(seconds=30), description="for one answer")


class SqlSource(_Source):
    """Rows of one partition from a database, through an Airflow connection."""

    kind: Literal["sql"]
    conn_id: str = Field(min_length=1, description="Airflow connection")
    query: str = Field(description="one SELECT with the bind parameters :start (inclusive) and :end (exclusive)")
    time_format: str = Field(
        default="%Y-%m-%d %H:%M:%S", description="how :start and :end (UTC) are written, in strftime's notation"
    )
    chunk_rows: int = Field(default=50_000, ge=1, description="rows fetched at a time")

    @field_validator("query")
    @classmethod
    def _one_select(cls, value: str) -> str:
        bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", value, flags=re.DOTALL).strip().rstrip(";")
        if ";" in bare or not re.match(r"(?i)(select|with)\b", bare):
            raise ValueError("should be exactly one SELECT (or WITH ... SELECT) statement")
        for name in ("start", "end"):
            if not re.search(rf"(?<!:):{name}\b", bare):
                raise ValueError(f"must use :{name}, so that a partition reads only its own rows")
        return value


class PagingSpec(Spec):
    """How the next page of an HTTP answer is asked for."""

    by: Literal["page", "offset", "cursor", "link"] = Field(
        description="page number, row offset, cursor from the answer, or the address in the answer (`link`)"
    )
    param: str = Field(default="page", min_length=1, description="query parameter that carries page, offset or cursor")
    first: int = Field(default=1, ge=0, description="number of the first page or offset")
    size_param: str | None = Field(default=None, description="query parameter that carries the page size")
    until: Literal["empty", "short"] = Field(
        default="empty",
        description="page, offset: the last page is the first empty one, or the first of fewer than `size` "
        "(saves a request, loses rows where the server caps the page size)",
    )
    size: int = Field(default=1000, ge=1, description="rows per page, sent as `size_param`")
    next: str | None = Field(default=None, description="dotted path to the cursor or address in the answer")
    max_pages: int = Field(default=1000, ge=1, description="more pages than that is an error, never a silent cut")

    @model_validator(mode="after")
    def _next_given(self) -> Self:
        if self.by in ("cursor", "link") and not self.next:
            raise ValueError(f"next: paging by {self.by} needs the dotted path to it")
        return self


class RetrySpec(Spec):
    """When an HTTP request is repeated."""

    attempts: int = Field(default=4, ge=1, le=20, description="tries in all")
    wait: Duration = Field(default=timedelta(seconds=1), description="pause before the second try, doubled each time")
    statuses: Seq[int] = Field(default=(408, 429, 500, 502, 503, 504), description="answers that are worth another try")


class DocumentFields(Spec):
    """Which fields of a record make a document."""

    name: Column = Field(description="field with the file name")
    content: Column = Field(description="field with the content in base64")
    received_at: Column | None = Field(default=None, description="its field, an ISO 8601 time; null: partition's start")
    max_bytes: int = Field(default=25_000_000, ge=1, description="a larger document: no content, problem `too_large`")


class HttpSource(_Source):
    """Rows of one partition from an HTTP interface; address and credentials are in the Airflow connection."""

    kind: Literal["http"]
    conn_id: str = Field(min_length=1, description="Airflow HTTP connection: host, headers, log-in")
    endpoint: str = Field(description="path below the connection's host; may use {start} {end} {partition}")
    params: dict[str, str] = Field(default_factory=dict, description="of the query; may use {start} {end} {partition}")
    time_format: str = Field(
        default="%Y-%m-%dT%H:%M:%SZ", description="how {start} and {end} (UTC) are written, in strftime's notation"
    )
    records: str = Field(default="", description="dotted path to the list of rows; empty: the answer itself")
    documents: DocumentFields | None = Field(default=None, description="records are documents, content in base64")
    paging: PagingSpec | None = Field(default=None, description="null: one request")
    max_batch_bytes: int = Field(
        default=200_000_000, ge=1, description="more in all answers of a partition is an error"
    )
    retry: RetrySpec = Field(default_factory=RetrySpec, description="when a request is repeated")
    timeout: Duration = Field(default=timedelta(seconds=30), description="for one request")


Source = Annotated[FileSource | FolderSource | MailboxSource | SqlSource | HttpSource, Field(discriminator="kind")]


class SourcesSpec(RootModel[dict[Name, Source]]):
    """The file sources.yaml: every source of the pack by name."""

    @model_validator(mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return named_by_key(value, "source")
