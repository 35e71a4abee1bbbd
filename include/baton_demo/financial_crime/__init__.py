"""Two days of card transactions, a fraud wave, and the analysts' answers. Imports its pack and the engine."""
