"""`baton new pack`: an installable pack; from a file of rows with source, contract, models, flow, labels and a test of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from baton.authoring.files import check_name, in_a_year, render, write
from baton.authoring.new_flow import new_flow
from baton.authoring.new_model import NewModel, RowNotes, new_model
from baton.authoring.profile import Profile, profile, rules
from baton.data import formats
from baton.errors import SourceError, SpecError
from baton.packs.pack import ALL, packs
from baton.packs.spec_file import did_you_mean
from baton.settings import settings
from baton.sources.files import format_of, read_bytes

if TYPE_CHECKING:
    import pandas as pd

STEPS = ("15m", "1h", "1d", "7d")
NOBODY = "none"


@dataclass(frozen=True)
class Question:
    """One of at most five; `default` is what `--yes` answers, empty where it must be said."""

    name: str
    text: str
    default: str
    allowed: tuple[str, ...]
    several: bool = False


@dataclass(frozen=True)
class Look:
    """Rows from somewhere, what they seem to be, and what is to be asked.

    Attributes:
        origin: path of a CSV, JSON or Parquet file, `sqlite:///FILE#TABLE`, or the http(s) address of CSV or JSON.
        kind: of source that reads such rows: file, sql or http.
        content: the bytes of a file or of an answer; None of a database.
    """

    origin: str
    kind: Literal["file", "sql", "http"]
    frame: pd.DataFrame
    seems: Profile
    content: bytes | None = None

    @classmethod
    def at(cls, origin: str) -> Look:
        """Read them. Raises SourceError: they are not there, or are of another form."""
        if origin.startswith("sqlite:///"):
            frame = _from_sqlite(*origin.removeprefix("sqlite:///").partition("#")[::2])
            return cls(origin, "sql", frame, profile(frame))
        remote = origin.startswith(("http://", "https://"))
        content = _from_http(origin) if remote else read_bytes(origin)
        form = "json" if content.lstrip()[:1] in (b"[", b"{") else format_of(origin.partition("?")[0], "csv")
        frame = formats.read_bytes(content, origin, form)
        return cls(origin, "http" if remote else "file", frame, profile(frame), content)

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return Path(self.origin).name if self.kind == "file" else self.origin

    def save(self, folder: Path) -> Path:
        """Keep the rows as the first history; a file as it is. Returns where."""
        if self.kind == "file" and self.content is not None:
            path = folder / f"history.{format_of(self.origin, 'csv')}"
            path.write_bytes(self.content)
        else:
            path = folder / "history.parquet"
            self.frame.drop(columns=["_row", "_problem"], errors="ignore").to_parquet(path)
        return path

    def questions(self) -> list[Question]:
        """What only a person knows."""
        seems, columns = self.seems, tuple(self.seems.columns)
        forecast = bool(seems.series)
        key, time = (seems.series or seems.keys)[:1], seems.times[:1]
        target = (seems.quantities if forecast else seems.targets)[:1]
        first = {
            name: found[0].column if found else "" for name, found in (("key", key), ("time", time), ("target", target))
        }
        what = "names a series" if forecast else "identifies a row"
        aim = "is the quantity to forecast" if forecast else "says what turned out to be true"
        return [
            Question("key", f"Which column {what}?", first["key"] or NOBODY, (*columns, NOBODY)),
            Question("time", "Which column says when?", first["time"] or NOBODY, (*columns, NOBODY)),
            Question("target", f"Which column {aim}?", first["target"], columns),
            Question(
                "personal",
                "Which columns are personal data?",
                ", ".join(seems.personal) or NOBODY,
                (*columns, NOBODY),
                True,
            ),
            Question("step", "How often do new rows come?", "1d", STEPS),
        ]

    def completed(self, given: Mapping[str, str]) -> tuple[Look, dict[str, str]]:
        """The rows with a number where no column identifies them, and in order, a second apart, where none says when.

        Later deliveries must bring these columns too.
        """
        import pandas as pd

        said, frame, count = dict(given), self.frame, len(self.frame)
        if said["key"] == NOBODY:
            said["key"], frame = "row_id", frame.assign(row_id=range(1, count + 1))
        if said["time"] == NOBODY:
            end = pd.Timestamp.now(tz="UTC").floor("D")
            said["time"] = "received_at"
            frame = frame.assign(received_at=end - pd.to_timedelta(range(count, 0, -1), unit="s"))
        return (self, said) if frame is self.frame else (Look(self.origin, self.kind, frame, profile(frame)), said)


def check_answers(look: Look, given: Mapping[str, str]) -> None:
    """Raises SpecError: an answer is missing, or names what there is not."""
    for question in look.questions():
        said = given.get(question.name, "")
        if not said:
            raise SpecError(f"{question.text} {look.name} does not tell; say it with --{question.name}")
        for word in (one.strip() for one in said.split(",")) if question.several else [said]:
            if word not in question.allowed:
                hint = did_you_mean(word, question.allowed)
                raise SpecError(
                    f"--{question.name} {word}: not in {look.name}{hint} Allowed: {', '.join(question.allowed)}"
                )


def new_pack(name: str, into: Path) -> list[Path]:
    """Writes a pack that can be installed: <into>/<name>/ with pyproject.toml and the package baton_<name>.

    Raises:
        SpecError: the name is no Python name, is taken, or the folder exists.
    """
    check_name("pack", name)
    if name == ALL:
        raise SpecError(f"pack: `{name}` are the packs together: choose another name")
    if name in packs():
        raise SpecError(f"a pack `{name}` is installed already")
    root = into / name
    if root.exists():
        raise SpecError(f"{root} exists already")
    package = f"baton_{name}"
    written = []
    for file in ("pyproject.toml", "__init__.py", "sources.yaml", "governance.yaml", "steps.py", "README.md"):
        path = root / file if file == "pyproject.toml" else root / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = render(f"pack/{file.replace('__', '')}.txt", name=name, review=in_a_year())
        path.write_text(text, encoding="utf-8")
        written.append(path)
    for part in ("models", "contracts"):
        (root / package / part).mkdir()
    return written


def pack_from(name: str, look: Look, given: Mapping[str, str], into: Path, dags: Path) -> list[Path]:
    """Writes a pack for the rows of a file: source, contracts with learnt rules, models, a flow with review and labels,
    a test, a README with what was seen. The rows at hand become the history that a first version learns from.

    Args:
        given: answers to the questions of `look`.
        dags: folder of DAG files.

    Returns:
        the files written; none stays when something is wrong.

    Raises:
        SpecError: an answer is wrong, a name is taken, or the rows are not enough to write a model.
    """
    check_answers(look, given)
    look, given = look.completed(given)
    family = _family(look, given["target"])
    folder = settings().data_dir / name
    if folder.exists():
        raise SpecError(f"{folder} exists already: the history of {name} would go there; move it away")
    if not dags.is_dir():
        raise SpecError(f"{dags} is no folder; say with --folder where the DAG files are")
    root, made = into / name, list(new_pack(name, into))
    site = root / f"baton_{name}"
    try:
        folder.mkdir(parents=True)
        made.append(look.save(folder))
        values = {"name": name, "look": look, "given": given, "history": made[-1].name, "at": _place(look)}
        (site / "sources.yaml").write_text(render("pack/sources.from.j2", **values), encoding="utf-8")
        made += _filled(name, look, given, family, site, dags)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        for path in dags.glob(f"{name}_*.py"):
            path.unlink(missing_ok=True)
        raise
    return list(dict.fromkeys(made))


def _from_sqlite(file: str, table: str) -> pd.DataFrame:
    import pandas as pd
    import sqlalchemy as sa

    if not Path(file).is_file():
        raise SourceError(f"{file}: there is no such database")
    engine = sa.create_engine(f"sqlite:///{file}")
    try:
        known = sa.inspect(engine).get_table_names()
        if table not in known:
            raise SourceError(
                f"{file}: no table {table or 'was named: write sqlite:///FILE#TABLE'}; there are: {', '.join(known)}"
            )
        with engine.connect() as conn:
            return pd.read_sql(sa.select(sa.text("*")).select_from(sa.table(table)), conn)
    finally:
        engine.dispose()


def _from_http(address: str) -> bytes:
    import httpx

    try:
        answer = httpx.get(address, timeout=30.0)  # follows no redirect: another host is another address
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise SourceError(f"{address}: {error}") from error
    return answer.content


def _place(look: Look) -> dict[str, str]:
    """Where the source's later rows are asked for, from where the first ones were."""
    if look.kind == "sql":
        file, _, table = look.origin.removeprefix("sqlite:///").partition("#")
        return {"file": str(Path(file).resolve()), "table": table}
    parts = urlsplit(look.origin)
    return {"host": f"{parts.scheme}://{parts.netloc}", "endpoint": parts.path.lstrip("/")}


def _filled(name: str, look: Look, given: Mapping[str, str], family: str, site: Path, dags: Path) -> list[Path]:
    personal = tuple(one.strip() for one in given["personal"].split(",") if one.strip() != NOBODY)
    learnt = tuple(rules(look.frame, look.seems, skip=[given["key"], given["time"], given["target"]]))
    about = RowNotes(personal, learnt)
    models = {model_name(given["target"]): family}
    if family == "classification":  # a second opinion that needs no label
        models[f"{model_name(given['target'])}_unusual"] = "anomaly"
    made: list[Path] = []
    for number, (model, kind) in enumerate(models.items()):
        asked = NewModel(
            name=model, pack=site, family=kind, source="rows" if look.kind == "file" else "past", target=given["target"], entity=given["key"], time=given["time"],
            scoring=False, rows=number == 0, about=about,
        )  # fmt: skip
        made += new_model(asked)
    flow = f"{name}_{model_name(given['target'])}"
    made += new_flow(flow, site, "rows", f"{next(iter(models))}_rows", list(models), dags)
    values = {"name": name, "flow": flow, "models": models, "look": look, "given": given, "about": about, "at": _place(look), "series": family == "forecast",
              "texts": family == "text"}  # fmt: skip
    (site / "README.md").unlink()
    return [*made, *write({site / "README.md": render("pack/README.from.j2", **values),
                           site.parent / "test_steps.py": render("pack/test_steps.j2", **values)})]  # fmt: skip


def _family(look: Look, target: str) -> str:
    kind = look.seems.columns[target][0]
    if look.seems.series:
        if kind not in ("int", "float"):
            raise SpecError(f"--target {target}: rows of series are forecast, and that is no quantity")
        return "forecast"
    if any(one.column == target and one.why.startswith("is 0 or 1") for one in look.seems.targets):
        return "classification"
    if kind == "str" and look.seems.texts:
        return "text"
    raise SpecError(
        f"--target {target}: it is neither 0 or 1, nor the class of a text in another column, nor the quantity of a series: "
        "bring it into one of these forms, or begin with `baton new pack` and write the model by hand"
    )


def model_name(column: str) -> str:
    """A column's name as a model may be called."""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in column.lower()).strip("_")
    return word if word[:1].isalpha() else f"model_{word}"
