"""The stand-in servers of incident response in one process: look-ups, firewall, directory, tickets. Imports the company, no engine."""
