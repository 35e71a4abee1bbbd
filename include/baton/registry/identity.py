"""Identity of a model version: what makes it the one it says it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Whose model a folder is; independent of the version number, which the registry gives out later.

    Attributes:
        model: name of the registered model.
        run_id: MLflow run that trained it.
        logged_model: id of MLflow's logged model, unique to one upload.
        dataset: SHA-256 of the training data, "" when the model was not fitted on a committed dataset.
        created: ISO-8601 UTC time of signing.
    """

    model: str
    run_id: str
    logged_model: str
    dataset: str
    created: str


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        model: name of the registered model.
        version: number, counted by MLflow from 1.
        run_id: the run that trained it.
        logged_model: id of the upload that holds its files; "" when it was not registered by Baton.
        description: the model card, with the gate's verdict once there is one.
        tags: `baton.*` and others.
    """

    model: str
    version: int
    run_id: str
    logged_model: str
    description: str
    tags: dict[str, str]
