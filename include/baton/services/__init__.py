"""Airflow, MLflow, companions: started, supervised, stopped. Imports packs, record, tracking and the floors below."""
