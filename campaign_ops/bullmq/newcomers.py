"""The campaigns that got a live job after the queue was read."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from campaign_ops.bullmq.connection import QueueConnection
from campaign_ops.bullmq.contents import read_contents
from campaign_ops.bullmq.guard import LastLook
from campaign_ops.bullmq.live_jobs import Reading
from campaign_ops.bullmq.payload import PayloadReader, named
from campaign_ops.bullmq.states import kept_aside, may_come_again
from campaign_ops.core.errors import QueueUnclear


def newcomers(
    connection: QueueConnection,
    reading: Reading,
    campaign_ids: Collection[str],
    *,
    ours: Collection[str] = frozenset(),
    look: LastLook | None = None,
) -> frozenset[str]:
    """Return the campaigns that have a live job now which the reading did not know and which is not ``ours``.

    See `QueueReader.newcomers`.
    """
    wanted = frozenset(campaign_ids)
    payloads = PayloadReader(connection.profile, connection.ids, wanted)
    aside = {name for name, untaken_in in reading.holders.values() if not untaken_in}
    if look is None:
        (active,) = connection.each("lrange", [[connection.key("active"), "0", "-1"]])
        # First: when its turn comes, such a job gets into a state.
        aside = _not_read(connection, reading, aside | _held_by(connection, active))
        live = connection.live_ids()
    else:  # whatever has got into a state or was kept aside since is new to the guard
        live = look.live
        active = [job_id for job_id, state in live.items() if state == "active"]
        aside = _not_read(connection, reading, aside | _held_by(connection, active))
    moved = {name for job_id, (name, state) in reading.holders.items() if state and live.get(job_id, state) != state}
    aside |= _not_read(connection, reading, moved - aside)
    dated = {
        job_id: job
        for job_id, job in reading.dated.items()
        if job_id in live and (job[0] in wanted or may_come_again(job_id))
    }
    times = connection.fields(list(dated), "timestamp")
    others = {job_id: made for job_id, (made,) in times if made != dated[job_id][1]}
    with_new_job = {campaign for job_id in others if (campaign := dated[job_id][0]) in wanted and campaign is not None}
    # Without a time now it has ended since; whatever it did is in the rows.
    again = {job_id for job_id, made in others.items() if made is not None}
    known = (reading.snapshot.live.keys() - reading.finished - again) | frozenset(ours)
    new = [job_id for job_id in live if job_id not in known]
    gone: set[str] = set()
    unread = [*new, *aside]
    while unread:
        held: set[str] = set()
        for job_id, _, content, (deduplication,) in read_contents(connection, payloads, unread, "deid"):
            if content is None:
                gone.add(job_id)
                continue
            if content.doubt is payloads.wanted.everybody:
                raise _unclear(connection, job_id)
            with_new_job |= content.doubt
            if content.campaign_id is not None:
                with_new_job.add(content.campaign_id)
            if deduplication is not None:
                held.add(kept_aside(deduplication))
        unread = [*_not_read(connection, reading, held - aside)]
        aside.update(unread)
    if still_listed := gone and gone & (connection.live_ids().keys() | aside):
        raise _unclear(connection, min(still_listed))
    return frozenset(with_new_job)


def _held_by(connection: QueueConnection, active: Sequence[str]) -> set[str]:
    """Return the ids of what may be kept aside until these jobs end."""
    return {kept_aside(name) for _, (name,) in connection.fields(active, "deid") if name is not None}


def _not_read(connection: QueueConnection, reading: Reading, aside: Collection[str]) -> set[str]:
    """Return the jobs kept aside now, other than those that were read. They have a job id in place of a time."""
    now = connection.fields(sorted(aside), "name", "jid")
    return {job_id for job_id, (name, counted) in now if name and (reading.dated.get(job_id) or ("", ""))[1] != counted}


def _unclear(connection: QueueConnection, job_id: str) -> QueueUnclear:
    what = f"job {named(job_id)} came meanwhile and cannot be understood, so it may cover any recipient"
    return QueueUnclear(what, where=connection.where, mend="the next sweep looks again")
