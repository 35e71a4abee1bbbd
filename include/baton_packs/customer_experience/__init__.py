"""Customer experience: documents that come in, and messages of customers; see README.md."""
