"""Writing packs: lint, scaffolds, JSON Schemas for editors. Imports packs, sources, contracts and the floors below."""
