"""Airflow connections as what steps need: models, peers of effects, readers of sources. Imports every floor below."""
