"""Contracts: Great Expectations judges a frame; rows that break a rule are named. Imports data and the floors below."""
