"""Assets of the packs: who answers for each, what its life was. Imports what console.queries may."""
