"""MLflow over REST: runs, traces, prompts. Imports data, settings and the floors below them."""
