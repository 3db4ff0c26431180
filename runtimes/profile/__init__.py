"""A profile of this device that one can trust: latency, energy, heat, and a verdict on the run itself."""
