"""Settle the jobs that an earlier sweep intended and ended too early to confirm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue
from campaign_ops.core.model import age
from campaign_ops.journal.attempts import Closed, OpenIntent
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.progress import doing

SURE_AFTER = timedelta(minutes=2)
"""By then, no process adds a job that it intended; and the clocks of PostgreSQL and Redis differ by less."""


def settle_intents(platform: Platform) -> dict[str, int]:
    """Settle open intents by what the queue holds, by its events, or by time; count the jobs by their fate.

    A job that is not in the queue and left no trace was not added, if the events are complete since before it was
    intended. Where that is not known, it stays open as long as it counts as coverage, and is unknown from then on.

    Raises:
        QueueUnavailable: Redis is away: nothing was settled.
    """
    queue = platform.queue
    open_jobs = platform.database.run(platform.attempts.open_intents) if queue is not None else {}
    if queue is None or not open_jobs:
        return {}
    doing(platform.name, "settling jobs of an earlier sweep")
    if queue.profile.several:
        queue.mind(platform.database.run(lambda connection: platform.attempts.tenants_of(connection, open_jobs)))
    fates = _fates(queue, open_jobs, platform.policy.cooldown, platform.database.run(database_now))
    if not fates:
        return {}

    def _write(connection: sa.Connection) -> None:
        log = platform.attempts
        added = [name for name, closed_as in fates.items() if closed_as is None]
        perhaps = [name for name, closed_as in fates.items() if closed_as in {None, Closed.UNKNOWN}]
        log.added(connection, log.unconfirmed_campaigns(connection, perhaps))
        log.confirm_intents(connection, {name: open_jobs[name].recipients for name in added})
        for closed_as in Closed:
            log.close_intents(connection, [name for name, fate in fates.items() if fate is closed_as], closed_as)

    platform.database.run(_write)
    counts: dict[str, int] = {}
    for name, closed_as in fates.items():
        word = "added" if closed_as is None else closed_as.value
        counts[word] = counts.get(word, 0) + 1
        if closed_as is None:
            counts["recipients"] = counts.get("recipients", 0) + open_jobs[name].recipients
    return counts


def _fates(
    queue: Queue, open_jobs: Mapping[str, OpenIntent], cooldown: timedelta, now: datetime
) -> dict[str, Closed | None]:
    """How each job is closed, None for those that were added; jobs that stay open are absent."""
    fates: dict[str, Closed | None] = dict.fromkeys(queue.present(open_jobs))
    rest: Collection[str] = open_jobs.keys() - fates.keys()
    if not rest:
        return fates
    traces = queue.traces(rest)
    for name in rest:
        intended_at = open_jobs[name].intended_at
        since = traces.complete_since
        if name in traces.removed:
            fates[name] = Closed.TAKEN_BACK
        elif name in traces.added:
            fates[name] = None
        elif since is not None and since < intended_at - SURE_AFTER and age(intended_at, now) > SURE_AFTER:
            fates[name] = Closed.NOT_ADDED
        elif age(intended_at, now) > cooldown:
            fates[name] = Closed.UNKNOWN
    return fates
