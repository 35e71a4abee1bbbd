"""Models that give a text a class, or say none of them. Imports families.base, families.verdict and the floors below
families.
"""
