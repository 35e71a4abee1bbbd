"""Evidence: what Baton says of an asset, in one file that an outsider verifies. May import record, registry and below."""
