"""How long is kept what a flow leaves behind: `retention.yaml` of a pack. What is not named is kept."""

from pydantic import Field, RootModel

from baton.specs.base import Duration, Name, Spec


class FlowRetention(Spec):
    """Ages after the start of a partition, of one flow; its ledger entries and the digests of its datasets stay."""

    datasets: Duration | None = Field(default=None, description="rows of all stages, in the store")
    predictions: Duration | None = Field(
        default=None, description="predictions, decisions, adjustments in the warehouse"
    )
    labels: Duration | None = Field(default=None, description="what turned out to be true; models learn from them")
    quarantine: Duration | None = Field(default=None, description="bad rows that are resolved or discarded")
    cases: Duration | None = Field(default=None, description="cases that are closed or withdrawn, with their texts")
    effects: Duration | None = Field(default=None, description="content of mails and orders that are sent or withdrawn")


class RetentionSpec(RootModel[dict[Name, FlowRetention]]):
    """The file retention.yaml: ages by DAG id, also of trainings (`<model>_train`)."""
