"""`baton new model|flow|pack`: files to start from, commented, that pass `baton lint`."""

from pathlib import Path
from typing import Annotated

import typer

PACK = "Name of an installed pack, or its folder."
app = typer.Typer(help="Write a commented model, flow or pack to start from.", no_args_is_help=True)


@app.command()
def model(
    name: Annotated[str, typer.Argument(help="Name of the model, snake_case.")],
    pack: Annotated[str, typer.Option(metavar="PACK", help=PACK)],
    source: Annotated[str, typer.Option(help="Source of the pack with a history of rows whose truth is known.")],
    target: Annotated[str | None, typer.Option(help="Column with the truth: 0/1 label, class, or quantity.")] = None,
    family: Annotated[str, typer.Option(help="classification, anomaly, text or forecast.")] = "classification",
    entity: Annotated[
        str | None, typer.Option(help="Column that identifies a row, or a series; found out if only one can.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column with the event time; found out if only one can.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Family text: column to read; several times for several.")
    ] = None,
    money: Annotated[str | None, typer.Option(help="Column with the amount at stake.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for the model.")] = "model-owners",
    scoring: Annotated[
        bool, typer.Option(help="With a scoring DAG of its own; without one where a flow scores.")
    ] = True,
) -> None:
    """Write the model's YAML and the contracts of its rows, inferred from the source's history."""
    from baton.authoring.new_model import NewModel, new_model

    asked = NewModel(name=name, pack=pack, family=family, source=source, target=target, entity=entity, time=time,
                     text=tuple(text or ()), money=money, owner=owner, scoring=scoring)  # fmt: skip
    _say(new_model(asked))


@app.command()
def flow(
    name: Annotated[str, typer.Argument(help="DAG id of the flow, snake_case.")],
    pack: Annotated[str, typer.Option(metavar="PACK", help=PACK)],
    source: Annotated[str, typer.Option(help="Source of the pack.")],
    contract: Annotated[str, typer.Option(help="Contract of its rows.")],
    model: Annotated[list[str], typer.Option(help="A model that scores them; several times for several.")],
    labels: Annotated[str, typer.Option(help="Source with what became known later, if the pack has it.")] = "labels",
    folder: Annotated[Path, typer.Option(help="Where the DAG files are.")] = Path("dags"),
) -> None:
    """Write a flow that runs: scores side by side, decisions, cases, a review, late labels, and their contracts."""
    from baton.authoring.new_flow import new_flow

    _say(new_flow(name, pack, source, contract, model, folder, labels))


@app.command()
def pack(
    name: Annotated[str, typer.Argument(help="Name of the pack, snake_case.")],
    into: Annotated[Path, typer.Option(help="Folder to write it into.")] = Path(),
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Rows whose truth is known, from which all is written: a CSV, JSON or Parquet file, sqlite:///FILE#TABLE, or an http(s) address.",
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Of the file: column that identifies a row, or a series.")] = None,
    time: Annotated[str | None, typer.Option(help="Of the file: column that says when.")] = None,
    target: Annotated[str | None, typer.Option(help="Of the file: column with the truth, or the quantity.")] = None,
    personal: Annotated[str | None, typer.Option(help="Of the file: columns of personal data, or none.")] = None,
    step: Annotated[str | None, typer.Option(help="How often new rows come: 15m, 1h, 1d, 7d.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what the file suggests.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the DAG files are.")] = Path("dags"),
) -> None:
    """Write an installable pack; with --from one that fits a file of rows, after at most five questions."""
    from baton.authoring.new_pack import Look, check_answers, model_name, new_pack, pack_from

    said = {"key": key, "time": time, "target": target, "personal": personal, "step": step}
    if file is None:
        if given := [f"--{name}" for name, value in said.items() if value] + ["--yes"] * yes:
            raise typer.BadParameter(f"{', '.join(given)}: only with --from")
        _say(new_pack(name, into))
        return
    look = Look.at(file)
    answers: dict[str, str] = {}
    for question in look.questions():
        word = said[question.name]
        if word is None and not yes:
            word = typer.prompt(question.text, default=question.default or None)
        answers[question.name] = question.default if word is None else str(word).strip()
    check_answers(look, answers)
    _say(pack_from(name, look, answers, into, folder))
    print(f"next: pip install --no-deps -e {into / name}, then baton try {model_name(answers['target'])}")


def _say(files: list[Path]) -> None:
    for path in files:
        print(f"wrote {path}")
