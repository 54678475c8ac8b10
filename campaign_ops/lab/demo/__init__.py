"""A small messaging platform to watch: embedded PostgreSQL and Redis, workers that really send, and their faults."""
