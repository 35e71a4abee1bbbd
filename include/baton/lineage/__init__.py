"""Lineage: what the ledger says as OpenLineage events, told to a file or an endpoint. May import record and below."""
