"""The stand-in servers of incident response in one process: look-ups, the firewall, the directory, the tickets."""
