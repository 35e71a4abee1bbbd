"""Airflow plugin: Baton's pages in Airflow's UI, "Today" in the navigation. Registration only."""

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from baton.airflow.server.console_mount import PREFIX, Console, checked_answers, form_partitions, nav_entry


class BatonConsolePlugin(AirflowPlugin):
    """Mounts the console under `/baton` and shows Today as a page of Airflow's own UI."""

    name = "baton_console"
    fastapi_apps = [{"app": Console(), "url_prefix": PREFIX, "name": "Baton"}]  # noqa: RUF012 - Airflow's interface
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": checked_answers, "name": "Baton: answers"},
        {"middleware": form_partitions, "name": "Baton: partitions of the form"},
    ]
    external_views = [nav_entry(conf.get("api", "base_url", fallback=""))]  # noqa: RUF012
