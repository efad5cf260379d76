"""Router workers: read To and Cc of a fetched mail and emit one delivery job a recipient."""
