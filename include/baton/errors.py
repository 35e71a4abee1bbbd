"""Errors that a user of Baton can act on: each message says what is wrong, where, and what to do."""


class BatonError(Exception):
    """Base of all errors that Baton raises on purpose."""


class SpecError(BatonError):
    """A YAML file does not say what it must; names file, line, field and what is allowed."""


class SourceError(BatonError):
    """A source cannot be read; names source, file or address, row where known."""


class NoData(BatonError):
    """A partition has no data at its source; the run ends `skipped: no data`."""


class ContractBroken(BatonError):
    """A contract stopped the run; its rows are in quarantine."""


class StaleAttempt(BatonError):
    """A later attempt owns the slot: this attempt's result was thrown away."""


class DatasetCorrupt(BatonError):
    """A committed object is missing or its bytes do not have the recorded hash."""


class RegistryRefused(BatonError):
    """A model version was refused before anything of it was opened; the message is the reason."""


class NotAgreed(BatonError):
    """A file of a pack is not the one that people agreed to; names asset, both digests and the command that asks them."""


class ServiceError(BatonError):
    """A service cannot be started or reached; names the service, its log and what to do."""


class ModelError(BatonError):
    """A model cannot be fitted, loaded or applied; the message names column, candidate or file and what to do."""
