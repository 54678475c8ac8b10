"""Mutants of the product: one operator, constant or condition changed at a time, and whether a fast test notices.

`make mutants` prints the kill rate of each part and the survivors. `CONTRIBUTING.md` has the last figures;
`equivalents.py` lists those that change nothing, each with the reason.
"""
