"""Features of a text: terms, encoder's vector, blends' members, strangers' traits. Imports what families.text may."""
