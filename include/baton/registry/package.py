"""The folder that goes into the registry: the family's files, `MLmodel` with a signature, card, manifest.

The flavour is `baton`: MLflow shows the version with its schema and cannot load it by itself, since there is
no `python_function` flavour and so no `loader_module` that could run.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.keys import signing_key
from baton.registry.content import FLAVOUR
from baton.registry.identity import Identity
from baton.registry.manifest import sign

if TYPE_CHECKING:
    import pandas as pd

    from baton.data.datasets import DatasetRef

MLMODEL = "MLmodel"
CARD = "model_card.md"
EXAMPLE = "input_example.json"


@dataclass(frozen=True)
class Submission:
    """A trained model on its way into the registry.

    Attributes:
        model: name of the registered model, created on first use.
        folder: what the family saved; not changed.
        run_id: the run that trained it.
        family: name of the family that can load it.
        input_example: shape (few, features), typed as the model wants it; MLflow shows it: no personal data.
        card_md: model card in Markdown, also the version's description.
        output_example: shape (few, outputs), or None.
        metrics: held-out metrics of this model.
        tags: `baton.partition`, Airflow ids and the like; reviews and verdicts are not taken from here.
        dataset: the training data; its hash is signed into the manifest.
        about: one line on the registered model: what, owner.
    """

    model: str
    folder: Path
    run_id: str
    family: str
    input_example: pd.DataFrame
    card_md: str
    output_example: pd.DataFrame | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    dataset: DatasetRef | None = None
    about: str = ""


def package(given: Submission, identity: Identity, target: Path, keys_dir: Path) -> str:
    """Copy a saved model to `target`, which must not exist, complete and sign it; return the SHA-256 of its manifest.

    Raises:
        RegistryRefused: the folder holds something that may not be in a model folder.
    """
    shutil.copytree(given.folder, target, symlinks=True)  # a link stays a link, for the check to refuse
    (target / CARD).write_text(given.card_md, encoding="utf-8")
    example = json.loads(
        given.input_example.to_json(orient="split", index=False, date_format="iso", double_precision=15)
    )
    (target / EXAMPLE).write_text(json.dumps(example), encoding="utf-8")
    _write_mlmodel(given, identity, target)
    return sign(target, signing_key(keys_dir), identity)


def _write_mlmodel(given: Submission, identity: Identity, target: Path) -> None:
    from mlflow.models import Model, infer_signature

    with warnings.catch_warnings():
        # the hint that integer columns cannot hold missing values; contracts decide that here
        warnings.simplefilter("ignore", UserWarning)
        example, output = given.input_example, given.output_example
        signature = infer_signature(example) if output is None else infer_signature(example, output)
    Model(
        artifact_path=None,
        run_id=identity.run_id,
        model_id=identity.logged_model,
        utc_time_created=datetime.now(UTC).replace(tzinfo=None),
        flavors={FLAVOUR: {"family": given.family, "format": 1, "data": "."}},
        signature=signature,
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
        metadata={"dataset": identity.dataset},
    ).save(str(target / MLMODEL))
