"""Addresses of the assets that wake DAGs."""

from airflow.sdk import Asset


def published(flow: str) -> Asset:
    """A partition of this flow was published."""
    return Asset(name=f"{flow}_published", uri=f"x-baton://{flow}/published", group="baton")


def labelled(flow: str) -> Asset:
    """Labels about entities of this flow arrived."""
    return Asset(name=f"{flow}_labelled", uri=f"x-baton://{flow}/labelled", group="baton")


def challenger(model: str) -> Asset:
    """A version was registered, and the alias `challenger` points at it."""
    return Asset(name=f"{model}_challenger", uri=f"x-mlflow://models/{model}/challenger", group="baton")


def champion(model: str) -> Asset:
    """The alias `champion` moved."""
    return Asset(name=f"{model}_champion", uri=f"x-mlflow://models/{model}/champion", group="baton")


def drifted(model: str) -> Asset:
    """The monitor decided that the model must be retrained."""
    return Asset(name=f"{model}_drift", uri=f"x-baton://{model}/drift", group="baton")
