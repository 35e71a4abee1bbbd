"""The simulated company at work and under attack: events and connections, seeded, with their truth. Imports the company, no engine."""
