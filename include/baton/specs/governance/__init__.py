"""Who answers for what a pack has, and who may use it: `governance.yaml`. Imports specs.base."""

from baton.specs.governance.file import (
    ASSET_KINDS,
    VOTES,
    AssetKind,
    AssetTerms,
    AssetTermsSpec,
    GovernanceSpec,
    Impact,
)

__all__ = ["ASSET_KINDS", "VOTES", "AssetKind", "AssetTerms", "AssetTermsSpec", "GovernanceSpec", "Impact"]
