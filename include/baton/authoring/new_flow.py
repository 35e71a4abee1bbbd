"""`baton new flow`: a readable flow in one Python file, checked against the pack before it is written."""

from __future__ import annotations

import re
from pathlib import Path

from baton.errors import SpecError
from baton.packs.pack import load_pack

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TEMPLATE = '''"""Airflow DAG `{name}`: one sentence on what it decides, for whom.

**What it does.** Reads one partition of `{source}`, checks it against the contract `{contract}`, scores it with
{models}, and publishes the scores.

**When it fails.** *contract* red: the data are broken as a whole; see the task's *Validation result*, repair with
`baton quarantine`, re-inject. Anything else is retried.
"""

from baton.airflow.flows import Flow

with Flow(
    "{name}",
    pack="{pack}",
    cron="{cron}",
    step="{step}",
    models={model_list},
    owner="{owner}",
    tags=["impact:tier2"],
    doc_md=__doc__,
) as flow:
    rows = flow.contract(flow.ingest("{source}"), "{contract}")
    scores = {{model: flow.score(rows, model) for model in {model_list}}}
    # Your own step is a pure function in the pack (frames in, frame out), named by dotted path:
    # decisions = flow.stage("decide", "baton_packs.{pack}.steps:decide", rows=rows, **scores)
    # flow.publish(decisions, scores, case_routes=["review"])
    flow.publish_scores(scores)
'''
_CRONS = {"1h": "0 * * * *", "1d": "0 0 * * *", "1w": "0 0 * * 1"}


def new_flow(name: str, pack: str, source: str, contract: str, models: list[str], folder: Path) -> Path:
    """Write `<folder>/<name>.py`.

    Raises:
        SpecError: a name is no snake_case name, is unknown to the pack, or the file exists.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(f"flow name {name!r}: lower case, digits and underscores, starting with a letter")
    found = load_pack(pack)
    step = found.source(source).step_text
    found.contract(contract)
    for model in models:
        if model not in found.models:
            raise SpecError(f"pack {pack}: no model `{model}`. There are: {', '.join(found.models) or 'none'}.")
    path = folder / f"{name}.py"
    if path.exists():
        raise SpecError(f"{path} exists already")
    if not folder.is_dir():
        raise SpecError(f"{folder} is no folder; say with --folder where the DAG files are")
    path.write_text(_TEMPLATE.format(
        name=name, pack=pack, source=source, contract=contract, step=step, cron=_CRONS.get(step, "0 * * * *"),
        models=", ".join(f"`{model}`" for model in models), model_list="[" + ", ".join(f'"{m}"' for m in models) + "]",
        owner=found.models[models[0]].owner if models else "data-engineering",
    ), encoding="utf-8")  # fmt: skip
    return path
