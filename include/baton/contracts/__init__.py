"""Contracts: Great Expectations judges a frame; rows that break a rule are named. Imports data and the floors below."""

import os

# GX imports Spark's client where that is installed (extra `spark`), which looks for a whole Spark in a process without a main file, as
# Airflow's tasks and pytest's workers may be, and ends the process when there is none; it believes a name that is set
os.environ.setdefault("SPARK_HOME", "")
