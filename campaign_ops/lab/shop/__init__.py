"""A small messaging application: its tables, its workers in Python and Node, and its provider."""
