"""Tasks of the DAGs: stage, branch, review, approval, monitor. Imports airflow.connections and every floor below."""
