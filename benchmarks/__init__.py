"""Measurements of a sweep against what others do with the same data. Run by hand: ``python -m benchmarks --help``."""
