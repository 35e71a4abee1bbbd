"""Forecasts of many series, from backtest to watch. Imports families.{base,verdict} and the floors below families."""
