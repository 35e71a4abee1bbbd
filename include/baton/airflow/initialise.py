"""Bring Airflow's metadata database up to date and create the pools: `python -m baton.airflow.initialise`.

One process instead of `airflow db migrate` and `airflow pools set` for each pool: each imports for seconds.
"""

import os

POOLS = {
    "training": (
        max(2, os.cpu_count() or 1),
        "Model training: as many candidates at a time as there are cores",
    ),
    "scoring": (2 * (os.cpu_count() or 1), "Contract checks and scoring of partitions"),
}


def initialise() -> None:
    """Create or migrate the database and create missing pools; slots that an operator changed stay."""
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    with create_session() as session:
        for name, (slots, description) in POOLS.items():
            if Pool.get_pool(name, session=session) is None:
                Pool.create_or_update_pool(name, slots, description, include_deferred=False, session=session)


if __name__ == "__main__":
    initialise()
