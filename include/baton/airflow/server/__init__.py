"""What runs in Airflow's own processes: executor, warm-up, first start, console's mount. Imports every floor below."""
