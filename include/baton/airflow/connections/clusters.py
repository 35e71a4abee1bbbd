"""Clusters of `engine: spark`: address and log-in stay in Airflow connections.

A connection of type Spark Connect (`spark_connect`, of Airflow's own Spark provider) says: host, port (default 15002), login (id of
the user), password (bearer token); extra: `use_ssl` (default true; false is taken on loopback only) and `headers` (an object of
texts, sent with each call).
"""

from typing import Any

from airflow.sdk import BaseHook

from baton.engines.spark import SparkCluster
from baton.errors import BatonError, SpecError

_KNOWN = {"use_ssl", "headers"}


def spark_cluster(conn_id: str) -> SparkCluster:
    """Return address and log-in of a Spark Connect connection.

    Raises:
        SpecError: it is of another type, has no host, or its fields cannot work; never repeats a secret.
        AirflowNotFoundException: there is no such connection.
    """
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type != "spark_connect":
        raise SpecError(f"connection {conn_id}: engine: spark needs type spark_connect, this is {connection.conn_type}")
    extra: dict[str, Any] = connection.extra_dejson
    if unknown := sorted(set(extra) - _KNOWN):
        raise SpecError(
            f"connection {conn_id}: extra holds {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}"
        )
    headers = extra.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise SpecError(f"connection {conn_id}: extra.headers must be an object of texts")
    host = (connection.host or "").removeprefix("sc://").rstrip("/")
    if not host or not set(host).isdisjoint("/;?@"):
        raise SpecError(f"connection {conn_id}: host should be the name of the server alone, such as spark.example.org")
    tls = str(extra.get("use_ssl", True)).lower()
    if tls not in ("true", "false"):
        raise SpecError(f"connection {conn_id}: extra.use_ssl should be true or false")
    login, token = connection.login or "", connection.password or ""
    try:
        return SparkCluster(host, connection.port or 15002, login, token, tls == "true", headers)
    except BatonError as error:
        raise SpecError(f"connection {conn_id}: {error}") from error
