"""Mutants of the product: one operator, constant or condition changed at a time, and whether a fast test notices.

`make mutants` prints the kill rate of each part and the survivors; `docs/testing.md` has the last result and says why
each survivor changes nothing.
"""
