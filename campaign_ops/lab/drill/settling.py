"""Waits after the faults until nothing is left to do: for sweeps, for people, and for the watcher."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from campaign_ops.journal.outbox import LEASE
from campaign_ops.lab.drill.checkers import read, stores_of
from campaign_ops.lab.drill.checkers.counters import left_open
from campaign_ops.lab.drill.checkers.reservations import leaked
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.execution import AWAY, CARE_EVERY_SECONDS
from campaign_ops.lab.drill.workload import PAUSED

COMPLETE_SWEEPS = 3
"""Complete sweeps after the faults, at least, before the checks."""

SETTLE_SECONDS = 120.0
_PERSONS = {
    "unknown_status": "unknown_word",
    "quarantined": "quarantined",
    "ambiguous": "ambiguous",
    "credits_leaked": "credits_leaked",
}
"""Causes that only a person ends, by the verdict in a plan."""
_REFUSED = "stuck"
"""The cause of any other verdict that waits for a person, once it is old: held, or its repair was refused too often."""
_CREDITS = "credits_leaked"
"""The cause of a reservation that waits for a person."""
_LATE = {_REFUSED, _CREDITS}
"""Causes that become an incident only after minutes."""

_HOUR_PASSES = sa.text(
    "UPDATE campaign_ops.worker SET first_seen_at = first_seen_at - interval '1 hour'"
    " WHERE restarted AND first_seen_at > now() - interval '1 hour'"
)
# What a living watcher is sending is younger than five seconds.
_LEASE_PASSES = sa.text(
    "UPDATE campaign_ops.notification SET claimed_at = claimed_at - CAST(:lease AS interval) WHERE sent_at IS NULL"
    " AND claimed_at > now() - CAST(:lease AS interval) AND claimed_at < now() - interval '5 seconds'"
)
_UNSETTLED = sa.text(
    "SELECT (SELECT count(*) FROM campaign_ops.notification WHERE sent_at IS NULL),"
    " (SELECT array_agg(cause) FROM campaign_ops.incident WHERE opened_at IS NOT NULL AND resolved_at IS NULL),"
    " (SELECT array_agg(DISTINCT coalesce(verdict, :credits)) FROM campaign_ops.repair_plan WHERE needs_person)"
)


def settle(rig: Rig, stop: threading.Event) -> None:
    """Wait until only campaigns and incidents that need a person are left, and three complete sweeps have passed.

    With twice the workers: after workers that crashed all the time, sending what was left took 20 of 33 seconds.
    """
    for _ in range(rig.options.scale.workers):
        rig.start_worker()
    began, deadline = time.time(), time.monotonic() + SETTLE_SECONDS
    while not stop.wait(CARE_EVERY_SECONDS):
        rig.keep_alive()
        with suppress(*AWAY):
            let_time_pass(rig)
            sweeps = _complete_sweeps(rig.work_dir, began)
            if _quiet(rig) and _quiet_beside(rig, began) and _all_notified(rig) and sweeps >= COMPLETE_SWEEPS:
                rig.say(f"quiet after {sweeps} complete sweeps since the last fault")
                return
        if time.monotonic() > deadline:
            rig.say(f"not quiet after {SETTLE_SECONDS:.0f} s; checking the current state")
            return


def let_time_pass(rig: Rig) -> None:
    """Let an hour pass for restarts of workers, and its lease for what a killed watcher was sending."""
    with rig.owner.begin() as connection:
        connection.execute(_HOUR_PASSES)
        connection.execute(_LEASE_PASSES, {"lease": LEASE})


def _all_notified(rig: Rig) -> bool:
    """Return whether every notification was sent, and exactly what waits for a person is an open incident."""
    if not rig.options.watch:
        return True
    with rig.owner.connect() as connection:
        unsent, causes, verdicts = connection.execute(_UNSETTLED, {"credits": _CREDITS}).one()
    persons = {_PERSONS.get(verdict, _REFUSED) for verdict in verdicts or ()}
    return not unsent and persons - _LATE <= set(causes or ()) <= persons


def _quiet(rig: Rig) -> bool:
    """Return whether every campaign is over, or waits for a person in the newest plan, and no credits are leaked.

    Credits of a campaign that ended last are not released before it was left alone for ``stuck_after``.
    """
    if rig.writer.campaigns(PAUSED):
        return False
    sending = {row["id"] for row in rig.writer.campaigns(rig.profile.campaign.words.sending)}
    plan = sa.text("SELECT target FROM campaign_ops.repair_plan WHERE needs_person")
    with rig.owner.connect() as connection:
        if not sending <= set(connection.scalars(plan)):
            return False
    return leaked(read(stores_of(rig))).holds


def _quiet_beside(rig: Rig, began: float) -> bool:
    """Return whether the second platform, if there is one, has nothing left to send, to complete or to release."""
    if rig.beside is None:
        return True
    if rig.beside.application.lives or _complete_sweeps(rig.beside.work_dir, began) < COMPLETE_SWEEPS:
        return False
    records = read(stores_of(rig.beside))
    return left_open(records).holds and leaked(records).holds


def _complete_sweeps(work_dir: Path, since: float) -> int:
    """The number of successful sweeps that began after ``since`` (seconds of the epoch), by the sweepers' files."""
    files = work_dir.glob("sweeps-*.jsonl")
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sum(row["outcome"] == "done" and row["began"] > since for row in rows)
