"""The YAML of a pack as strict pydantic models: models, contracts, sources, tools, retention, actions, budgets, governance.

    models/<model>.yaml        -> TabularSpec | ForecastSpec | TextSpec, by `family`
    contracts/<contract>.yaml  -> ContractSpec
    sources.yaml               -> SourcesSpec (name -> FileSource | FolderSource | MailboxSource | SqlSource | HttpSource)
    tools.yaml                 -> ToolsSpec (name -> ToolSpec)
    retention.yaml             -> RetentionSpec (DAG id -> FlowRetention)
    actions.yaml               -> ActionsSpec (what may be done outside, and who has to agree)
    budgets.yaml               -> BudgetsSpec (name -> SpendingSpec)
    governance.yaml            -> GovernanceSpec (who answers for what the pack has, and who may use it)

`baton.packs` loads them, `baton.authoring.lint` explains mistakes, `baton.authoring.schemas` writes JSON Schema for editors.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from baton.specs.actions import ActionsSpec
from baton.specs.budgets import BudgetsSpec
from baton.specs.contract import ContractSpec
from baton.specs.forecast import ForecastSpec
from baton.specs.governance import GovernanceSpec
from baton.specs.retention import RetentionSpec
from baton.specs.source import SourcesSpec
from baton.specs.tabular import TabularSpec
from baton.specs.text import TextSpec
from baton.specs.tool import ToolsSpec


class ModelFile(RootModel[Annotated[TabularSpec | ForecastSpec | TextSpec, Field(discriminator="family")]]):
    """models/<model>.yaml: the family decides which fields there are."""


Kind = Literal["model", "contract", "sources", "tools", "retention", "actions", "budgets", "governance"]
KINDS: dict[Kind, type[BaseModel]] = {
    "model": ModelFile, "contract": ContractSpec, "sources": SourcesSpec, "tools": ToolsSpec,
    "retention": RetentionSpec, "actions": ActionsSpec, "budgets": BudgetsSpec,
    "governance": GovernanceSpec,
}  # fmt: skip


def json_schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema (2020-12) of one kind of YAML file, with every field's description."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **KINDS[kind].model_json_schema()}
