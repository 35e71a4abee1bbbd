"""Tasks of the DAGs: stage, branch, review, approval, monitor. Imports Airflow and every floor below, nothing else of
baton.airflow but connections.
"""
