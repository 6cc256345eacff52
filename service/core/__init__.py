"""Values and decisions: numpy and the standard library; no event loop, clock, disk or framework."""
