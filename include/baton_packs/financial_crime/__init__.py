"""Financial crime: card transactions, their fraud score and the analysts' cases; see README.md. Imports the engine's floors 1 to 6."""
