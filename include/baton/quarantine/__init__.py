"""Quarantine: bad rows wait here, are repaired or discarded by people, and go back into their partition.

The names that people's tools and packs use; stages import the modules. Stands on actions, contracts, data and record.
"""

from baton.quarantine.files import export, repair_file
from baton.quarantine.records import accounting, apply_repairs, record, repairs_digest
from baton.quarantine.repairs import discard, edit, repair
from baton.quarantine.rows import Where, counts, list_rows

__all__ = [
    "Where",
    "accounting",
    "apply_repairs",
    "counts",
    "discard",
    "edit",
    "export",
    "list_rows",
    "record",
    "repair",
    "repair_file",
    "repairs_digest",
]
