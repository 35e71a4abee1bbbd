"""Financial crime: card transactions, their fraud score and the analysts' cases; see README.md."""
