"""The folder that goes into the registry: the family's files, `MLmodel` with a signature, card, manifest.

The flavour is `baton`: MLflow shows the version with its schema and cannot load it by itself, since there is
no `python_function` flavour and so no `loader_module` that could run.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.registry.content import FLAVOUR
from baton.registry.identity import Identity
from baton.registry.manifest import sign, signing_key

if TYPE_CHECKING:
    import pandas as pd

MLMODEL = "MLmodel"
CARD = "model_card.md"
EXAMPLE = "input_example.json"


def package(
    source: Path,
    target: Path,
    *,
    identity: Identity,
    family: str,
    keys_dir: Path,
    input_example: pd.DataFrame,
    output_example: pd.DataFrame | None,
    card_md: str,
    metadata: Mapping[str, Any],
) -> str:
    """Copy a saved model to `target`, complete and sign it; return the SHA-256 of its manifest.

    Args:
        source: the folder that the family wrote; stays as it is.
        target: must not exist.
        identity: whose model it is.
        family: name of the family that can load it.
        keys_dir: folder of the signing key.
        input_example: shape (few, features), typed as the model wants it; MLflow shows it: no personal data.
        output_example: shape (few, outputs), or None.
        card_md: the model card.
        metadata: JSON values shown with the version in MLflow.

    Raises:
        RegistryRefused: the folder holds something that may not be in a model folder.
    """
    shutil.copytree(source, target, symlinks=True)  # a link stays a link, for the check to refuse
    (target / CARD).write_text(card_md, encoding="utf-8")
    example = json.loads(input_example.to_json(orient="split", index=False, date_format="iso", double_precision=15))
    (target / EXAMPLE).write_text(json.dumps(example), encoding="utf-8")
    _write_mlmodel(target, identity, family, input_example, output_example, metadata)
    return sign(target, signing_key(keys_dir), identity)


def _write_mlmodel(
    target: Path,
    identity: Identity,
    family: str,
    input_example: pd.DataFrame,
    output_example: pd.DataFrame | None,
    metadata: Mapping[str, Any],
) -> None:
    from mlflow.models import Model, infer_signature

    with warnings.catch_warnings():
        # the hint that integer columns cannot hold missing values; contracts decide that here
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(input_example, output_example)
    Model(
        artifact_path=None,
        run_id=identity.run_id,
        model_id=identity.logged_model,
        utc_time_created=datetime.now(UTC).replace(tzinfo=None),
        flavors={FLAVOUR: {"family": family, "format": 1, "data": "."}},
        signature=signature,
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
        metadata=dict(metadata),
    ).save(str(target / MLMODEL))
