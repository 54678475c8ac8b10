"""Measures a sweep against other ways to do the same with the same data: ``python -m benchmarks --help``."""
