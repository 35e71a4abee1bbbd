"""Effects: what leaves the house, once, through the outbox and its peers. Imports record and the floors below."""
