"""Airflow plugin: Baton's pages in Airflow's UI, Today, Models and Map in the navigation. Registration only."""

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from baton.airflow.server.console_mount import PREFIX, Console, checked_answers, form_partitions, nav_entries


class BatonConsolePlugin(AirflowPlugin):
    """Mounts the console under `/baton` and shows its pages in Airflow's own UI."""

    name = "baton_console"
    fastapi_apps = [{"app": Console(), "url_prefix": PREFIX, "name": "Baton"}]  # noqa: RUF012 - Airflow's interface
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": checked_answers, "name": "Baton: answers"},
        {"middleware": form_partitions, "name": "Baton: partitions of the form"},
    ]
    external_views = nav_entries(conf.get("api", "base_url", fallback=""))
