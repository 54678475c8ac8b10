"""Looks at a platform that follow each other without waiting, and what is in its tables after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from campaign_ops.core.causes import Cause
from campaign_ops.core.incidents import Look, Rules, Symptom, What
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.incidents import update
from campaign_ops.watch.symptoms import look_at
from tests.conftest import World

HASTY = Rules(same_look_seconds=0)
NOBODY = Notify()


def watch(world: World, times: int = 1, *, notify: Notify = NOBODY, rules: Rules = HASTY) -> list[What]:
    """What so many looks at the platform changed."""
    return [
        change.what
        for _ in range(times)
        for change in update(world.platform, look_at(world.platform), notify, rules=rules)
        if change.what is not None
    ]


def bad(world: World, symptom: Symptom, *, notify: Notify = NOBODY, rules: Rules = HASTY) -> list[What]:
    """What a look changed that found this."""
    look = Look((symptom,), {symptom.cause: ""})
    return [change.what for change in update(world.platform, look, notify, rules=rules) if change.what is not None]


def good(world: World, cause: Cause, *, notify: Notify = NOBODY, rules: Rules = HASTY) -> list[What]:
    """What a look changed that found nothing wrong."""
    look = Look((), {cause: ""})
    return [change.what for change in update(world.platform, look, notify, rules=rules) if change.what is not None]


def open_one(world: World, symptom: Symptom, notify: Notify = NOBODY) -> int:
    """Open an incident; its number."""
    bad(world, symptom, notify=notify)
    bad(world, symptom, notify=notify)
    rows = world.rows(
        "SELECT id FROM campaign_ops.incident WHERE cause = :cause AND state = 'open'", cause=symptom.cause.value
    )
    return int(rows[0]["id"])


def incidents(world: World, *columns: str) -> Sequence[dict[str, Any]]:
    """Rows of our table, the oldest first."""
    return world.rows(f"SELECT {', '.join(columns) or '*'} FROM campaign_ops.incident ORDER BY id")


def open_causes(world: World) -> list[str]:
    rows = world.rows("SELECT cause FROM campaign_ops.incident WHERE state = 'open' ORDER BY cause")
    return [row["cause"] for row in rows]


def events(world: World) -> list[tuple[str, str, str]]:
    """(what, actor, reason) of everything that happened to incidents."""
    rows = world.rows("SELECT what, actor, reason FROM campaign_ops.incident_event ORDER BY id")
    return [(row["what"], row["actor"], row["reason"]) for row in rows]
