"""XComs above a threshold lie in the store, where Airflow's own backend puts them; the store's own driver takes them there.

Airflow goes to S3 by Amazon's provider and a connection with keys of its own. Here whoever has the store's keys has these objects,
and nobody else: workers. The UI shows the address. `baton.services.container` says when this is switched on.
"""

from typing import Any

from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend
from airflow.sdk.io import attach

from baton.data import objects
from baton.data.objects import StoreError
from baton.settings import settings


class _Driver:
    """The driver of the store, made when it is first used: it starts a thread, which no process that forks may have."""

    def __getattr__(self, name: str) -> Any:
        return getattr(objects.driver(settings().store_url)[0], name)


_STORE = settings().store_url
attach(_STORE.partition("://")[0], fs=_Driver())


class StoredXCom(XComObjectStorageBackend):
    """Airflow's backend; it refuses an object that is gone, where Airflow would hand its address to the task as if it were the value."""

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Return the value, from the database or the store.

        Raises:
            StoreError: its object is missing or damaged.
        """
        value = XComObjectStorageBackend.deserialize_value(result)
        if isinstance(value, str) and value.startswith(f"{_STORE.rstrip('/')}/xcom/"):
            raise StoreError(
                f"{value}: the object of this XCom is missing or damaged (`baton gc` removes them after 30 days); clear the task "
                "that returned it, too, so that it returns it anew"
            )
        return value
