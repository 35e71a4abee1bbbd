"""The pages Assets: a table of all, and one with its life. Imports console.queries, and what pages share."""
