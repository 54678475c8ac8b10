"""The queue: whether it is reachable, on a reliable Redis, the right one, and in a state in which jobs get sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from campaign_ops.bullmq.queue import Queue, ServerFacts
from campaign_ops.core.errors import CampaignOpsError, QueueUnavailable
from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.wording import plural
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.prefixes import prefixes_of
from campaign_ops.doctor.unreachable import queue_finding
from campaign_ops.platform import Platform

OLDEST_REDIS = (6, 2)
LOOKED_AT = 500  # jobs of each state
REPLICA_ROLES = frozenset({"slave", "replica"})


def queue(platform: Platform) -> Iterator[Finding]:
    """Report everything about the queue, or that the platform has none."""
    if platform.queue is None:
        yield Finding("queue", Level.OK, "the platform sends in process: there is no queue")
        return
    try:
        state, server = platform.queue.state(), platform.queue.server()
    except QueueUnavailable as error:
        yield queue_finding("queue", error)
        return
    except CampaignOpsError as error:
        what = f"the queues were not examined, because their tenants could not be read: {error.what}"
        yield Finding("queue", Level.NOTE, what)
        return
    yield Finding("queue", Level.OK, f"{platform.queue.where} answers")
    yield _rights(platform.queue)
    yield redis_version(server)
    yield from _role(server)
    yield _eviction(server)
    for each in state.each:
        yield _exists(platform.queue, each)
        if server.role not in REPLICA_ROLES:
            yield _named(state, each, _library(each))
    yield from _markers(platform.queue)
    for each in state.each:
        yield _named(state, each, _paused(each))
        yield _named(state, each, _workers(each))
    yield depth(state, platform.policy)
    yield from _aside(platform.queue)


def _named(state: QueueState, part: QueueState, finding: Finding) -> Finding:
    """Return the finding with the name of its queue, if there are several."""
    return replace(finding, what=f"{part.name}: {finding.what}") if state.parts else finding


_LOST = {
    "INFO": "a restarted or replaced Redis, or a replica, goes unnoticed",
    "TIME": "adding jobs has no deadline by Redis's own clock",
    "XREVRANGE": "jobs that come and go between look and add go unnoticed",
    "CLIENT LIST": "workers are not counted",
}


def _rights(queue: Queue) -> Finding:
    """Report optional commands that the user may not run. Without the required ones every read fails."""
    refused = queue.refused()
    if not refused:
        return Finding("queue_rights", Level.OK, "the Redis user may run every command of a sweep")
    what = "the Redis user may not run " + "; ".join(f"{name}: {_LOST[name]}" for name in refused)
    more = " ".join(f"+{name.lower().replace(' ', '|')}" for name in refused)
    return Finding("queue_rights", Level.WARNING, what, f"redis-cli ACL SETUSER <user in queue_url> {more}")


def redis_version(server: ServerFacts) -> Finding:
    """Report a server that is too old for BullMQ."""
    found = re.match(r"(\d+)\.(\d+)", server.redis_version or "")
    if found is None:
        return Finding("queue_server", Level.NOTE, "the server reports neither its version nor its role")
    if (int(found[1]), int(found[2])) < OLDEST_REDIS:
        wanted = ".".join(map(str, OLDEST_REDIS))
        what = f"Redis {server.redis_version} is older than {wanted}, which BullMQ requires"
        return Finding("queue_server", Level.WARNING, what, f"upgrade it to {wanted} or newer")
    return Finding("queue_server", Level.OK, f"Redis {server.redis_version}")


def depth(state: QueueState, policy: Policy) -> Finding:
    """Compare the number of waiting jobs with the configured limits."""
    if state.depth >= policy.max_queue_depth:
        what = f"{state.depth} jobs are waiting; from {policy.max_queue_depth} on nothing is re-enqueued"
        return Finding("queue_depth", Level.WARNING, what, "start more workers, or raise thresholds.max_queue_depth")
    if state.depth > policy.backlog_limit:
        what = f"{state.depth} jobs are waiting, more than {policy.backlog_limit}"
        return Finding("queue_depth", Level.WARNING, what, "start more workers, or raise thresholds.backlog_limit")
    return Finding("queue_depth", Level.OK, f"{state.depth} jobs are waiting, {state.live} are live in total")


def _role(server: ServerFacts) -> Iterator[Finding]:
    if server.role in REPLICA_ROLES:
        what = "this Redis is a replica: its data may be old, and no job can be added"
        yield Finding("queue_role", Level.ERROR, what, "put the master, or the sentinels, into queue_url")
    elif server.role is not None:
        yield Finding("queue_role", Level.OK, "this Redis is the master")


def _eviction(server: ServerFacts) -> Finding:
    policy = server.eviction_policy
    if policy is None:
        what = "the server does not report its eviction policy; under any policy except noeviction BullMQ loses jobs"
        return Finding("queue_eviction", Level.NOTE, what, "check in the host's settings that it is noeviction")
    if policy != "noeviction":
        what = f"the eviction policy is {policy}: when memory runs out, Redis deletes jobs"
        mend = "redis-cli CONFIG SET maxmemory-policy noeviction, and set it in the configuration file or at the host"
        return Finding("queue_eviction", Level.WARNING, what, mend)
    return Finding("queue_eviction", Level.OK, "the eviction policy is noeviction")


def _exists(queue: Queue, state: QueueState) -> Finding:
    if state.exists:
        return Finding("queue_name", Level.OK, f"queue {state.name} exists under prefix {queue.address.prefix}")
    if state.live:
        what = (
            f"queue {state.name} has {state.live} live jobs under prefix {queue.address.prefix}, but not the key `meta`"
            " that every BullMQ library writes: a sweep takes the queue for emptied and re-enqueues nothing"
        )
        mend = "start the application's workers or senders, which write it; it was deleted, or not restored"
        return Finding("queue_name", Level.WARNING, what, mend)
    what = f"queue {state.name} was never used under prefix {queue.address.prefix}"
    try:
        others = prefixes_of(queue.address, state.name)
    except QueueUnavailable:
        others = []
    if not others:
        mend = (
            "if the application has sent already, correct queue.name, queue_prefix or the database number in queue_url"
        )
        return Finding("queue_name", Level.WARNING, what, mend)
    what += f", but it exists under {', '.join(others)}: every job there would be taken for lost"
    return Finding("queue_name", Level.ERROR, what, f'set queue_prefix: "{others[0]}"')


def _library(state: QueueState) -> Finding:
    if state.problem:
        what = f"the queue is only read, nothing is added: {state.problem}"
        return Finding(
            "queue_library", Level.WARNING, what, "re-enqueue with the application's own tools, or update this program"
        )
    if state.version is None:
        return Finding("queue_library", Level.OK, "the queue's library writes no version, like the Python library")
    return Finding("queue_library", Level.OK, f"the queue belongs to {state.version}")


def _markers(queue: Queue) -> Iterator[Finding]:
    if not queue.profile.markers:
        return
    try:
        queue.marked(["campaign-ops-doctor"])
    except QueueUnavailable:
        patterns = " ".join(f"~{marker.replace('{recipient_id}', '*')}" for marker in queue.profile.markers)
        what = "the user may not read the marker keys of what the provider already has, so nothing can be re-enqueued"
        yield Finding("queue_markers", Level.ERROR, what, f"redis-cli ACL SETUSER <user in queue_url> {patterns}")
    else:
        yield Finding("queue_markers", Level.OK, "the user may read the marker keys")


def _paused(state: QueueState) -> Finding:
    if state.paused:
        what = "the queue is paused: nothing is sent, and nothing is re-enqueued"
        return Finding(
            "queue_paused",
            Level.WARNING,
            what,
            "ask who paused it; resume it in the application (queue.resume())",
        )
    return Finding("queue_paused", Level.OK, "the queue is not paused")


def _aside(queue: Queue) -> Iterator[Finding]:
    """Report jobs that are in no state, so that neither BullMQ's counters nor ours show them."""
    try:
        aside = queue.count_aside(LOOKED_AT)
    except QueueUnavailable as error:
        yield queue_finding("queue_aside", error)
        return
    if aside:
        what = (
            f"{plural(aside, 'job')} kept aside (`keepLastIfActive`) until the job before under its deduplication id"
            " ends: in no state and in no count of the queue; sweeps read them, and their recipients count as covered"
        )
        yield Finding("queue_aside", Level.NOTE, what)


def _workers(state: QueueState) -> Finding:
    if state.workers is None:
        return Finding("queue_workers", Level.NOTE, "the server does not list its clients: workers cannot be counted")
    if state.workers:
        return Finding("queue_workers", Level.OK, f"{state.workers} workers are connected")
    if state.live:
        what = f"no worker is connected, but {state.live} jobs are live: nothing sends them"
        return Finding("queue_workers", Level.WARNING, what, "start the application's workers")
    return Finding("queue_workers", Level.NOTE, "no worker is connected, and no job is live")
