"""What unit tests share: an empty warehouse is made once, and copied from then on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made_once() -> Iterator[None]:
    """Six hundred tests want an empty warehouse, whose revisions take 20 ms; a file that is there is migrated as it is."""
    from baton.record import warehouse
    from baton.settings import settings

    made: list[bytes] = []
    migrate = warehouse.migrate

    def copied(carry: Any = None) -> None:
        kind, _, name = settings().warehouse_url.partition(":///")
        path = Path(name)
        if kind != "sqlite" or path.exists():
            migrate(carry)
        elif made:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(made[0])
        else:
            migrate()
            warehouse.engine().dispose()  # what is in its log goes into the file
            made.append(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse, "migrate", copied)
        yield
