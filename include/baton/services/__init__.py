"""Airflow, MLflow and companions on this machine: started, supervised, stopped. Imports packs, record, tracking and the
floors below them.
"""
