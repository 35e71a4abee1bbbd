"""Simulated documents and messages, the story of two days, a small language model beside Airflow. Imports its pack and
the engine.
"""
