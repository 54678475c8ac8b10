"""Figures about what people do beside the sweeps: a repair that a person has undone is not made again."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_ops.lab.drill.checkers.figure import Figure, none_of
from campaign_ops.lab.drill.checkers.records import Records, Repair
from campaign_ops.lab.drill.checkers.rows import clock

_HOLDS = ("complete", "recount", "reenqueue")
"""Kinds of repair whose undoing holds the campaign until a person lifts the hold."""


def held_repaired(records: Records) -> Figure:
    """Campaigns and reservations that a sweep repaired although a person had undone a repair of them."""
    what = "repairs by a sweep of what a person had undone and not lifted"
    return none_of("held_repaired", what, _held_repaired(records))


def _held_repaired(records: Records) -> Iterator[str]:
    by_id = {repair.id: repair for repair in records.repairs}
    by_sweeps = {repair.id for repair in records.by_sweeps("complete", "recount", "reenqueue", "release")}
    held: dict[tuple[str, str], Repair] = {}
    for repair in sorted(records.repairs, key=lambda repair: (repair.at, repair.id)):
        place = ("reservation" if repair.kind == "release" else "campaign", repair.target)
        undone = by_id.get(repair.parent_id or 0) if repair.kind == "undo" else None
        if undone is not None and undone.kind in _HOLDS:
            held[place] = repair
        elif undone is not None and undone.kind == "release":
            held["reservation", undone.target] = repair
        elif repair.kind == "lift":
            held.pop(place, None)
        elif repair.id in by_sweeps and place in held:
            yield f"{repair} at {clock(repair.at)}, undone by a person at {clock(held[place].at)}"
