"""Sightings: what sweeps remember of a queue between looks, and the reasons to doubt the next look. Pure.

An alarm is kept until a person confirms: any job added to an emptied queue, ours included, makes it look sound.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from campaign_ops.core.model import age
from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState

DATABASE_REPLACED = (
    "the database was restored or failed over: its rows may be older than the queue, and recipients that they call"
    " pending may have their message"
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A queue as it was last seen, and the database that it was seen beside.

    Attributes:
        server_id: The Redis process that answered; None where it does not tell.
        server_since: When that process was first seen.
        server_trusted: It is the first that we saw, or a person has confirmed a repair that relied on it.
        job_counter: BullMQ's count of all jobs ever added; None where the queue did not exist at the last look.
        emptied: In words, the sign that the queue had been emptied; empty text if there was none.
        database_id: The database and its history; None where it does not tell.
        database_replaced: Another one, another history of it or other tables have taken its place since.
    """

    server_id: str | None
    server_since: datetime
    server_trusted: bool = True
    job_counter: int | None = None
    emptied: str = ""
    database_id: str | None = None
    database_replaced: bool = False


def sighted(
    before: Sighting | None, queue: QueueState | None, now: datetime, *, wanted: bool, database_id: str | None = None
) -> Sighting | None:
    """The sighting after one more look; an unreadable queue teaches nothing.

    Args:
        before: The sighting so far; None at the first look.
        queue: The queue as it was read.
        now: The database's clock at the look.
        wanted: Whether anything would be put back. A queue that never existed is no alarm where nothing is missing.
        database_id: The database that the look read; None where it does not tell.
    """
    if queue is None or queue.problem:
        return before
    known = before is not None and before.job_counter is not None
    after = before or Sighting(queue.server_id, now, database_id=database_id)
    if database_id is not None:
        replaced = after.database_replaced or _differ(after.database_id or "", database_id)
        after = replace(after, database_id=database_id, database_replaced=replaced)
    if queue.server_id is not None and queue.server_id != after.server_id:
        # The first process is trusted: there is nothing to compare it with.
        after = replace(after, server_id=queue.server_id, server_since=now, server_trusted=after.server_id is None)
    if not after.emptied:
        after = replace(after, emptied=_emptied(after, queue, missed=known or wanted))
    # Of a queue that is gone the alarm is kept, not the counter: with it, the look after a person's confirmation raised
    # the alarm again.
    return replace(after, job_counter=queue.job_counter if queue.exists else None)


def _differ(before: str, now: str) -> bool:
    """Compare what both say of the database: before an upgrade, sightings did not say which tables these are."""
    return bool(before) and any(was != part for was, part in zip(before.split("/"), now.split("/"), strict=False))


def all_sighted(
    before: Mapping[str, Sighting],
    queue: QueueState | None,
    now: datetime,
    *,
    wanted: Collection[str],
    database_id: str | None,
) -> dict[str, Sighting]:
    """The sightings of every queue of a platform, by name, after one more look.

    ``wanted`` names those into which anything would be put back; ``database_id`` is as in `sighted`.
    """
    parts = queue.each if queue is not None and not queue.problem else ()
    after = {
        part.name: sighting
        for part in parts
        if (sighting := sighted(before.get(part.name), part, now, wanted=part.name in wanted, database_id=database_id))
        is not None
    }
    return after if parts else dict(before)


def _emptied(before: Sighting, queue: QueueState, *, missed: bool) -> str:
    if not queue.exists:
        return "it did not exist under this prefix" if missed else ""
    if before.job_counter is not None and queue.job_counter < before.job_counter:
        return f"its job counter went back from {before.job_counter:,} to {queue.job_counter:,}"
    return ""


def confirmed(sighting: Sighting) -> Sighting:
    """The same sighting after a person has confirmed that the queue may be believed."""
    return replace(sighting, server_trusted=True, emptied="", database_replaced=False)


def alarms_about(queue: QueueState | None, sighting: Sighting | None) -> list[str]:
    """The alarms that forbid reading "no job" as "lost" until a person says otherwise."""
    if queue is None or queue.problem:
        return []
    if not queue.exists:
        return [f"queue {queue.name} does not exist under this prefix: emptied, or the wrong prefix"]
    if sighting is not None and sighting.emptied:
        lost = "its jobs may be lost, or be in another Redis"
        return [f"queue {queue.name} was emptied or replaced: {sighting.emptied}; {lost}"]
    return []


def all_alarms(
    queue: QueueState | None, sightings: Mapping[str, Sighting], *, wanted: Collection[str] = ()
) -> list[str]:
    """The alarms that forbid reading "no job" as "lost", of every queue of a platform.

    Of several queues, one that was never used is not an alarm, unless something would be put back into it. Another
    database is one only then: what its rows call settled was settled, however old they are.
    """
    replaced = any(sighting.database_replaced for sighting in sightings.values())
    return _alarms_about_each(queue, sightings, wanted) + ([DATABASE_REPLACED] if wanted and replaced else [])


def _alarms_about_each(
    queue: QueueState | None, sightings: Mapping[str, Sighting], wanted: Collection[str]
) -> list[str]:
    if queue is None or not queue.parts:
        return alarms_about(queue, sightings.get(queue.name) if queue is not None else None)
    if queue.problem:
        return []
    known = {name for name, sighting in sightings.items() if sighting.job_counter is not None or sighting.emptied}
    used = [part for part in queue.parts if part.exists or part.name in known or part.name in wanted]
    return [alarm for part in used for alarm in alarms_about(part, sightings.get(part.name))]


def all_emptied(sightings: Mapping[str, Sighting]) -> str:
    """Say how queues were emptied, until a person confirms that they may be believed; else empty text."""
    return "; ".join(f"queue {name}: {sighting.emptied}" for name, sighting in sightings.items() if sighting.emptied)


def suspicions_about(sighting: Sighting | None, policy: Policy, now: datetime) -> list[str]:
    """The reasons to doubt a lot of "no job": a new Redis process, until its losses have had time to show.

    A campaign looks stuck only ``stuck_after`` later, so a new process stays suspect for longer than that.
    """
    if sighting is None or sighting.server_trusted:
        return []
    if age(sighting.server_since, now) > policy.stuck_after + policy.cooldown:
        return []
    return ["Redis was restarted or failed over a short while ago: it may have lost jobs or run on old data"]


def all_suspicions(sightings: Mapping[str, Sighting], policy: Policy, now: datetime) -> list[str]:
    """The reasons to doubt a lot of "no job", of every queue of a platform."""
    suspicions = [words for sighting in sightings.values() for words in suspicions_about(sighting, policy, now)]
    return list(dict.fromkeys(suspicions))
