"""The pages Quarantine: what waits, the rows of a partition, and giving rows up. Imports console.queries, and what pages share."""
