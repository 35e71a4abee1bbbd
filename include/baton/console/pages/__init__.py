"""Routes, forms and templates of the pages. Imports console.queries and what it may."""
