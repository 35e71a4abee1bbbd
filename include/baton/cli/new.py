"""`baton new model|flow|pack`: files to start from, commented, that pass `baton lint`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Write a commented model, flow or pack to start from.", no_args_is_help=True)


@app.command()
def model(
    name: Annotated[str, typer.Argument(help="Name of the model, snake_case.")],
    pack: Annotated[str, typer.Option(help="Installed pack, or a folder that holds one.")],
    source: Annotated[str, typer.Option(help="Source of the pack with a history of labelled rows.")],
    family: Annotated[str, typer.Option(help="classification or anomaly.")] = "classification",
    target: Annotated[str | None, typer.Option(help="Its 0/1 label column.")] = None,
    entity: Annotated[str | None, typer.Option(help="Column that identifies a row; found out if only one can.")] = None,
    time: Annotated[str | None, typer.Option(help="Column with the event time; found out if only one can.")] = None,
    money: Annotated[str | None, typer.Option(help="Column with the amount at stake.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for the model.")] = "model-owners",
    scoring: Annotated[bool, typer.Option(help="With a scoring DAG of its own.")] = True,
) -> None:
    """Write the model's YAML and the contracts of its rows, inferred from the source's history."""
    from baton.authoring.new_model import NewModel, new_model
    from baton.packs.pack import packs

    where: str | Path = Path(pack) if pack not in packs() and Path(pack).is_dir() else pack
    asked = NewModel(name=name, pack=where, family=family, source=source, target=target, entity=entity, time=time,
                     money=money, owner=owner, scoring=scoring)  # fmt: skip
    _say(new_model(asked))


@app.command()
def flow(
    name: Annotated[str, typer.Argument(help="DAG id of the flow, snake_case.")],
    pack: Annotated[str, typer.Option(help="Installed pack.")],
    source: Annotated[str, typer.Option(help="Source of the pack.")],
    contract: Annotated[str, typer.Option(help="Contract of its rows.")],
    model: Annotated[list[str], typer.Option(help="A model that scores them; several times for several.")],
    folder: Annotated[Path, typer.Option(help="Where the DAG files are.")] = Path("dags"),
) -> None:
    """Write a flow: ingest, contract, scores side by side, and where your own functions go."""
    from baton.authoring.new_model import new_flow

    _say([new_flow(name, pack, source, contract, model, folder)])


@app.command()
def pack(
    name: Annotated[str, typer.Argument(help="Name of the pack, snake_case.")],
    into: Annotated[Path, typer.Option(help="Folder to write it into.")] = Path(),
) -> None:
    """Write an installable pack; Baton finds it by its entry point once it is installed."""
    from baton.authoring.new_model import new_pack

    _say(new_pack(name, into))


def _say(files: list[Path]) -> None:
    for path in files:
        print(f"wrote {path}")
