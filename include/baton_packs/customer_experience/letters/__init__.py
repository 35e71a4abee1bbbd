"""An answer on its way out: wording, grounding, privacy, sending. Imports fields, reading and the engine."""
