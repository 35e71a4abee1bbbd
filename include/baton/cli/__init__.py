"""The command `baton`. Imports every floor below; not Airflow."""
