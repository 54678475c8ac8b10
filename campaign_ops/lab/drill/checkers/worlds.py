"""Figures about the worlds of a drill: what shows that the platform was as their names say."""

from __future__ import annotations

from campaign_ops.lab.drill.checkers.figure import Figure, shown
from campaign_ops.lab.drill.checkers.records import Records
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.worlds import PLAIN, WORLDS

LONG_ENOUGH_SECONDS = 30
"""A shorter drill may end before the application of a world has done anything."""


def met(records: Records, options: DrillOptions, beside: Records | None = None) -> tuple[Figure, ...]:
    """One figure for each world of the drill; one that says so where it was the plain platform.

    Args:
        records: Those of the first platform.
        options: The drill's options.
        beside: Those of the second platform, where there is one.
    """
    if not options.worlds:
        return (shown(f"world_{PLAIN}", "world of this drill", "plain"),)
    figures = []
    for name in options.worlds:
        world = WORLDS[name]
        seen = beside if world.beside else records
        key, what, number = f"world_{name}", f"world {name}: {world.what}", 0 if seen is None else world.met(seen)
        if number == 0 and options.seconds < LONG_ENOUGH_SECONDS:
            figures.append(shown(key, what, f"not met: no {world.counted} in {options.seconds:g} s"))
            continue
        found = f"met: {number} {world.counted}" if number else f"not met: no {world.counted}"
        figures.append(Figure(key, what, "met", found, number > 0))
    return tuple(figures)
