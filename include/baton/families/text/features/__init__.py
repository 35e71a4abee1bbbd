"""Features of a text: terms, the encoder's vector, members of a blend, traits of a stranger. Imports what families.text
may.
"""
