"""Pages inside Airflow's UI; knows no Airflow. Imports every floor below; pages ask queries, queries nobody above."""
