"""Ways to forecast: one series at a time, all series at once, with point figures and kinds of demand. Imports
forecast.panel and what families.forecast may.
"""
