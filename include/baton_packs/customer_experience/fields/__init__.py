"""Text to values with their places: numbers, dates, amounts, names. Imports reading."""
