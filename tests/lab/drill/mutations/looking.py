"""Planted faults of looking: what is live, who may already have the message, what is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.bullmq import connection as connecting
from campaign_ops.bullmq import guard, live_jobs, queue, queue_group, reader
from campaign_ops.bullmq.completed_jobs import CompletedJobs
from campaign_ops.bullmq.contents import Job
from campaign_ops.bullmq.payload import ABOUT_OTHERS, Content, PayloadReader
from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.bullmq.states import LIVE, state_by_id
from campaign_ops.bullmq.wanted import NOTHING
from campaign_ops.postgres import cover, recipients
from campaign_ops.sweep import coverage, look, suspects
from tests.lab.drill.mutations.mutation import Planted, put, without

_EACH_STATE = "for state = 1, 6 do\n      for _, id in ipairs(redis.call("


def _not_live(left_out: str) -> None:
    """Forget one of the live states wherever they are listed."""

    def others(ids: Sequence[Sequence[str]]) -> dict[str, str]:
        return {job_id: state for job_id, state in state_by_id(ids).items() if state != left_out}

    for module in (connecting, reader, queue, queue_group):
        put(module, "state_by_id", others)
    numbers = ", ".join(str(number) for number, state in enumerate(LIVE, 1) if state != left_out)
    each = _EACH_STATE.replace("state = 1, 6", f"_, state in ipairs({{{numbers}}})")
    put(guard, "_GUARDED", without(guard._GUARDED, _EACH_STATE, each))


def _doomed_not_live() -> None:
    def sound(*arguments: Any) -> Iterator[Job]:
        for job in read(*arguments):
            doomed = job.content is not None and job.more[0] is not None
            yield job._replace(content=ABOUT_OTHERS) if doomed else job

    read = put(live_jobs, "read_contents", sound)


def _by_name() -> None:
    """Take only jobs of the profile's own name for jobs that send."""

    def own(payloads: PayloadReader, name: str | None, data: str | None) -> Content:
        return read(payloads, name, data) if payloads.is_ours(name) else ABOUT_OTHERS

    read: Callable[..., Content] = put(PayloadReader, "read", own)


def _doubt_is_nothing() -> None:
    def sure(payloads: PayloadReader, name: str | None, data: str | None) -> Content:
        return replace(read(payloads, name, data), doubt=NOTHING)

    read: Callable[..., Content] = put(PayloadReader, "read", sure)


def _markers_never_asked() -> None:
    put(QueueReader, "marked", lambda *_: frozenset())


def _suspects_not_kept() -> None:
    put(look, "keep_suspects", lambda *_: None)
    put(suspects, "keep_suspects", lambda *_: None)


def _completed_not_read() -> None:
    put(CompletedJobs, "new", lambda *_: iter(()))


def _accepted_is_pending() -> None:
    put(recipients, "is_accepted", lambda _tables: sa.false())


def _second_queue_not_read() -> None:
    """Read only the queue that batches are put back into."""
    put(queue_group.QueueGroup, "_patterns", property(lambda group: (group.profile.name,)))


PLANTED: Mapping[str, Planted] = {
    "delayed_not_live": Planted(rule=4, what="delayed jobs are not live", apply=lambda: _not_live("delayed")),
    "prioritized_not_live": Planted(
        rule=4, what="jobs with a priority are not live", apply=lambda: _not_live("prioritized")
    ),
    "active_not_live": Planted(
        rule=4, what="jobs that a worker has taken are not live", apply=lambda: _not_live("active")
    ),
    "doomed_not_live": Planted(
        rule=17,
        what="jobs that stalled too often cover nobody",
        apply=_doomed_not_live,
    ),
    "by_name": Planted(rule=17, what="jobs of another name cover nobody", apply=_by_name),
    "doubt_is_nothing": Planted(
        rule=17, what="a job that cannot be understood blocks no campaign", apply=_doubt_is_nothing
    ),
    "second_queue_not_read": Planted(
        rule=17, what="jobs in the platform's second queue cover nobody", apply=_second_queue_not_read
    ),
    "markers_never_asked": Planted(rule=17, what="markers are never asked for", apply=_markers_never_asked),
    "left_marked_not_read": Planted(
        rule=17,
        what="markers of jobs whose worker died are not remembered",
        apply=lambda: put(coverage, "left_marked", lambda *_: []),
    ),
    "suspects_not_kept": Planted(
        rule=17, what="a recipient that was seen marked is not written down", apply=_suspects_not_kept
    ),
    "suspects_not_read": Planted(
        rule=17,
        what="a recipient that an earlier look saw marked is forgotten",
        apply=lambda: put(cover, "load_remembered", lambda *_: 0),
    ),
    "completed_not_read": Planted(
        rule=17, what="completed jobs that the queue keeps prove nothing", apply=_completed_not_read
    ),
    "accepted_is_pending": Planted(
        rule=3, what="a pending recipient with a provider's id is still to be sent to", apply=_accepted_is_pending
    ),
}
