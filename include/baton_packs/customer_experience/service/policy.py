"""The rules of `customer_experience`, read from `policy/service.yaml`: routes, queues, and when a person must look."""

from pathlib import Path

from pydantic import Field

from baton.packs.policy_file import read_policy
from baton.specs.base import Share, Spec
from baton_packs.customer_experience import HERE

FOLDER = HERE / "policy"


class ServicePolicy(Spec):
    """Rules of `customer_experience`."""

    found: Share = Field(description="least certainty of the best entry for a reply to be sent")
    intent: Share = Field(description="least certainty of the intent for a reply to be sent")
    angry: Share = Field(description="certainty of a negative sentiment from which on a person answers")


def service(path: Path = FOLDER / "service.yaml") -> ServicePolicy:
    """The rules of `customer_experience`; raises as `intake.policy.intake`."""
    return read_policy(path, ServicePolicy)
