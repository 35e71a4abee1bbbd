"""What leaves the house, once: the outbox and the peers that it delivers to.

Imports record and the floors below it.
"""
