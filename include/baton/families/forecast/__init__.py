"""Forecasts of many series: backtest, intervals, reconciliation, the gate, the watch. Imports families.base,
families.verdict and the floors below families.
"""
