"""Detection of the incident-response pack: Sigma rules, log templates, models' findings, as alerts of one form. Imports the engine's floors 1 to 6."""
