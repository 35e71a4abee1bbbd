"""A store's weeks: real sales, simulated stock, and a purchasing API beside Airflow. Imports its pack and the engine."""
