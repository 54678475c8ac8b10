"""The queue: reachable, a Redis to rely on, the right one, and in a state in which jobs get sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from campaign_ops.bullmq.queue import Queue, ServerFacts
from campaign_ops.core.errors import CampaignOpsError, QueueUnavailable
from campaign_ops.core.model import QueueState
from campaign_ops.core.policy import Policy
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.prefixes import prefixes_of
from campaign_ops.doctor.unreachable import queue_finding
from campaign_ops.platform import Platform

OLDEST_REDIS = (6, 2)
REPLICA_ROLES = frozenset({"slave", "replica"})


def queue(platform: Platform) -> Iterator[Finding]:
    """Everything about the queue; of a platform without one, only that."""
    if platform.queue is None:
        yield Finding("queue", Level.OK, "the platform sends in process: there is no queue")
        return
    try:
        state, server = platform.queue.state(), platform.queue.server()
    except QueueUnavailable as error:
        yield queue_finding("queue", error)
        return
    except CampaignOpsError as error:
        what = f"the queues were not examined, since nobody could say which tenants there are: {error.what}"
        yield Finding("queue", Level.NOTE, what)
        return
    yield Finding("queue", Level.OK, f"{platform.queue.where} answers")
    yield _rights(platform.queue)
    yield redis_version(server)
    yield from _role(server)
    yield _eviction(server)
    for one in state.each:
        yield _exists(platform.queue, one)
        if server.role not in REPLICA_ROLES:
            yield _named(state, one, _library(one))
    yield from _markers(platform.queue)
    for one in state.each:
        yield _named(state, one, _paused(one))
        yield _named(state, one, _workers(one))
    yield depth(state, platform.policy)


def _named(state: QueueState, part: QueueState, finding: Finding) -> Finding:
    """The finding with the name of its queue, where there are several."""
    return replace(finding, what=f"{part.name}: {finding.what}") if state.parts else finding


_LOST = {
    "INFO": "a Redis that was restarted, replaced or is a replica is not noticed",
    "TIME": "the add has no deadline by Redis's own clock",
    "XREVRANGE": "jobs that came and went between look and add are not noticed",
    "CLIENT LIST": "workers are not counted",
}


def _rights(queue: Queue) -> Finding:
    """Whether the user may ask what a sweep would like to know. What it must know fails loudly."""
    refused = queue.refused()
    if not refused:
        return Finding("queue_rights", Level.OK, "the Redis user may ask all that a sweep asks")
    what = "the Redis user may not run " + "; ".join(f"{name}: {_LOST[name]}" for name in refused)
    more = " ".join(f"+{name.lower().replace(' ', '|')}" for name in refused)
    return Finding("queue_rights", Level.WARNING, what, f"redis-cli ACL SETUSER <user in queue_url> {more}")


def redis_version(server: ServerFacts) -> Finding:
    """Whether the server is new enough for BullMQ."""
    found = re.match(r"(\d+)\.(\d+)", server.redis_version or "")
    if found is None:
        return Finding("queue_server", Level.NOTE, "the server does not tell its version, nor whether it is the master")
    if (int(found[1]), int(found[2])) < OLDEST_REDIS:
        wanted = ".".join(map(str, OLDEST_REDIS))
        what = f"Redis {server.redis_version} is older than {wanted}, which BullMQ asks for"
        return Finding("queue_server", Level.WARNING, what, f"upgrade it to {wanted} or newer")
    return Finding("queue_server", Level.OK, f"Redis {server.redis_version}")


def depth(state: QueueState, policy: Policy) -> Finding:
    """Waiting jobs against the limits that are set."""
    if state.depth >= policy.max_queue_depth:
        what = f"{state.depth} jobs wait; from {policy.max_queue_depth} on nothing is re-enqueued"
        return Finding("queue_depth", Level.WARNING, what, "start more workers, or raise thresholds.max_queue_depth")
    if state.depth > policy.backlog_limit:
        what = f"{state.depth} jobs wait, more than {policy.backlog_limit}"
        return Finding("queue_depth", Level.WARNING, what, "start more workers, or raise thresholds.backlog_limit")
    return Finding("queue_depth", Level.OK, f"{state.depth} jobs wait, {state.live} are live in all")


def _role(server: ServerFacts) -> Iterator[Finding]:
    if server.role in REPLICA_ROLES:
        what = "this Redis is a replica: what it shows may be old, and no job can be added"
        yield Finding("queue_role", Level.ERROR, what, "name the master, or the sentinels, in queue_url")
    elif server.role is not None:
        yield Finding("queue_role", Level.OK, "this Redis is the master")


def _eviction(server: ServerFacts) -> Finding:
    policy = server.eviction_policy
    if policy is None:
        what = "the server does not tell its eviction policy; BullMQ loses jobs under any but noeviction"
        return Finding("queue_eviction", Level.NOTE, what, "see in the host's settings that it is noeviction")
    if policy != "noeviction":
        what = f"the eviction policy is {policy}: when memory runs out, Redis throws jobs away"
        mend = "redis-cli CONFIG SET maxmemory-policy noeviction, and in its configuration file or the host's settings"
        return Finding("queue_eviction", Level.WARNING, what, mend)
    return Finding("queue_eviction", Level.OK, "the eviction policy is noeviction")


def _exists(queue: Queue, state: QueueState) -> Finding:
    if state.exists:
        return Finding("queue_name", Level.OK, f"queue {state.name} exists under prefix {queue.address.prefix}")
    if state.live:
        what = (
            f"queue {state.name} has {state.live} live jobs under prefix {queue.address.prefix}, but not the key that"
            " every BullMQ library writes for a queue: a sweep takes it for emptied and puts nothing back"
        )
        mend = "start the application's workers or senders, which write it; it was removed, or the jobs were restored"
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
    what += f", but under {', '.join(others)}: every job there would be taken for lost"
    return Finding("queue_name", Level.ERROR, what, f'set queue_prefix: "{others[0]}"')


def _library(state: QueueState) -> Finding:
    if state.problem:
        what = f"the queue is only looked at, nothing is added: {state.problem}"
        return Finding(
            "queue_library", Level.WARNING, what, "re-enqueue by the application's own means, or update this program"
        )
    if state.version is None:
        return Finding("queue_library", Level.OK, "the queue's library does not tell its version, as Python's does not")
    return Finding("queue_library", Level.OK, f"the queue belongs to {state.version}")


def _markers(queue: Queue) -> Iterator[Finding]:
    if not queue.profile.markers:
        return
    try:
        queue.marked(["campaign-ops-doctor"])
    except QueueUnavailable:
        patterns = " ".join(f"~{marker.replace('{recipient_id}', '*')}" for marker in queue.profile.markers)
        what = "the keys that mark what the provider already has may not be read, so nothing can be re-enqueued"
        yield Finding("queue_markers", Level.ERROR, what, f"redis-cli ACL SETUSER <user in queue_url> {patterns}")
    else:
        yield Finding("queue_markers", Level.OK, "the marker keys may be read")


def _paused(state: QueueState) -> Finding:
    if state.paused:
        what = "the queue is paused: nothing is sent, and nothing is re-enqueued"
        return Finding(
            "queue_paused", Level.WARNING, what, "ask who paused it; resume it in the application (queue.resume())"
        )
    return Finding("queue_paused", Level.OK, "the queue is not paused")


def _workers(state: QueueState) -> Finding:
    if state.workers is None:
        return Finding(
            "queue_workers", Level.NOTE, "the server does not tell who is connected: workers cannot be counted"
        )
    if state.workers:
        return Finding("queue_workers", Level.OK, f"{state.workers} workers are connected")
    if state.live:
        what = f"no worker is connected, and {state.live} jobs are live: nobody sends them"
        return Finding("queue_workers", Level.WARNING, what, "start the application's workers")
    return Finding("queue_workers", Level.NOTE, "no worker is connected, and there is nothing to send")
