"""An hour of traffic with three attacks in it, and the services that defend. Imports its pack and the engine."""
