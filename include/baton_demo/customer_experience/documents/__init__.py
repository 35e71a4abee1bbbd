"""The simulator of documents: mails, PDFs, forms, and what a company knows about each. Imports nothing but its own
wording.
"""
