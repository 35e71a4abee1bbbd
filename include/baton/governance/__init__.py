"""Who answers for what, who may use it, how many have to agree, and which content of a file is in force. Imports packs, record, specs."""
