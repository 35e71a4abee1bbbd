"""Queries: what the pages show, as plain values. Imports console.{host,wording,spans} and the floors below."""
