"""Who answers for what, who may use it, and how many have to agree. Imports packs, record, specs."""
