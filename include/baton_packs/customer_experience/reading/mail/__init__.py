"""Mails: headers, bodies, attachments. Imports reading.text."""
