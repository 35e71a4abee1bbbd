"""Effects: what leaves the house, once, through the outbox and the peers that it delivers to. Imports record and the
floors below it.
"""
