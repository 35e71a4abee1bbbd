"""One page a run: what was ordered and why. Imports ordering and the engine."""
