"""Models of tables: classification and anomaly detection, through their whole life. Imports families.base,
families.verdict and the floors below families.
"""
