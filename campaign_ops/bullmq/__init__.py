"""The platform's queue: everything that is read from Redis or written to it."""
