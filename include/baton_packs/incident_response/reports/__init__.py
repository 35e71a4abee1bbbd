"""What people and other systems read of incidents: a page, a STIX bundle, a week in numbers. Imports incidents and the engine's floors 1 to 6."""
