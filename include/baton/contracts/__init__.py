"""Contracts: Great Expectations judges a frame, and the rows that break a rule are named. Imports data and the floors
below it.
"""
