"""What runs inside Airflow's own processes: executor, warm-up, first start, the console's mount. Imports Airflow and
every floor below.
"""
