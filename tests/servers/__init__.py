"""Real servers that tests start: on private loopback ports, in temporary folders, stopped by their own pid."""
