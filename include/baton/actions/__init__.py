"""What may be done outside, by policy and people: requests, votes, permits, the kill switch, undo. Imports floors 0 to 3."""
