"""Models of tables: classification and anomaly. Imports families.{base,verdict} and the floors below families."""
