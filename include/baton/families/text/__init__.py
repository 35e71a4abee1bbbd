"""Models that give a text a class, or say none. Imports families.{base,verdict} and the floors below families."""
