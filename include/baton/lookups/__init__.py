"""What other systems know about a thing: asked over HTTP, cached, limited, behind a circuit breaker. Imports floors 0 to 3."""
