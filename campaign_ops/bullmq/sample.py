"""A sample of the application's jobs, a few of each state, and how the profile differs from them. Decisions are pure.

Jobs of a queue may be of several kinds: only those with the profile's name, or with its campaign and recipient keys,
say anything about the profile.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.bullmq.writer import NewJob, fill_payload
from campaign_ops.core.errors import Refused
from campaign_ops.profile.queue import QueueProfile

PER_STATE = 20
_SHOWN = 8
_MANY = {"a number": "numbers", "text": "texts"}


class Problem(NamedTuple):
    """A misfit of profile and jobs, and the mend."""

    what: str
    mend: str


@dataclass(frozen=True)
class SampledJob:
    """One job that the application added. ``data`` is empty where it is no JSON object."""

    state: str
    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def sample_jobs(reader: QueueReader) -> list[SampledJob]:
    """Read the application's newest jobs, at most ``PER_STATE`` of each state, dead ones included.

    Raises:
        QueueUnavailable: Redis is away.
    """
    states = {job_id: state for state, ids in reader.newest(PER_STATE).items() for job_id in ids}
    rows = reader.fields(list(states), "name", "data", "opts")
    return [
        SampledJob(states[job_id], name, _object(data), _object(options))
        for job_id, (name, data, options) in rows
        if name is not None
    ]


def misfit(jobs: Sequence[SampledJob], profile: QueueProfile, *, numeric_ids: bool) -> Problem | None:
    """Return why jobs made by this profile would not be the application's: with such a profile nothing may be added."""
    keys = dict.fromkeys([profile.campaign_key, profile.recipients_key]).keys()
    named = [job for job in jobs if job.name in names_of(profile)]
    alike = [job for job in jobs if keys <= job.data.keys()]
    wanted = " or ".join(map(repr, names_of(profile)))
    if alike and not named:
        what = f"no job is named {wanted}, but those named {counted(job.name for job in alike)} carry {listed(keys)}"
        return Problem(what, f"set queue.job to {alike[0].name!r}, or put it into queue.further_jobs")
    if named and not any(keys <= job.data.keys() for job in named):
        there = dict.fromkeys(key for job in named for key in job.data)
        what = f"no job named {wanted} carries {listed(keys)}; their keys are {listed(there)}"
        return Problem(what, "correct the keys of queue.payload")
    differing = [list(_kinds_differ(job, profile, numeric_ids=numeric_ids)) for job in named if keys <= job.data.keys()]
    if differing and all(any(key in keys for key, *_ in of_job) for of_job in differing):
        key, ours, theirs = next(difference for difference in differing[0] if difference[0] in keys)
        mend = "set queue.payload_ids to what the application's jobs carry, or correct the keys of queue.payload"
        return Problem(f"{key!r} is {theirs} in the application's jobs, and would be {ours} in ours", mend)
    return None


def differences(jobs: Sequence[SampledJob], profile: QueueProfile, *, numeric_ids: bool) -> Iterator[Problem]:
    """Yield how the payload that we would add differs from the application's for the same batch, key by key."""
    named = [job for job in jobs if job.name in names_of(profile) and profile.campaign_key in job.data]
    if not named:
        return
    ours = set(profile.payload)
    always = set.intersection(*(set(job.data) for job in named))
    ever = set().union(*(job.data for job in named))
    if lacking := sorted(always - ours):
        yield Problem(
            f"every job carries {listed(lacking)}, and ours would not", "add what workers need of it to queue.payload"
        )
    if extra := sorted(ours - ever):
        yield Problem(f"no job carries {listed(extra)}, and ours would", "remove from queue.payload what is not needed")
    kinds: dict[str, tuple[str, str]] = {}
    for job in named:
        for key, mine, theirs in _kinds_differ(job, profile, numeric_ids=numeric_ids):
            kinds.setdefault(key, (mine, theirs))
    for key, (mine, theirs) in kinds.items():
        yield Problem(f"{key!r} is {theirs} in a job, and would be {mine} in ours", f"correct queue.payload.{key}")
    for key, value in profile.payload.items():
        constant = not (isinstance(value, str) and value.startswith("{"))
        there = [job.data[key] for job in named if key in job.data and not isinstance(job.data[key], dict | list)]
        if constant and there and value not in there and key not in kinds:
            what = f"{key!r} is never {value!r} in a job, as ours would have it"
            yield Problem(what, f"correct queue.payload.{key}")


def names_of(profile: QueueProfile) -> tuple[str, ...]:
    """Return every job name under which the application sends."""
    return (profile.job, *profile.further_jobs)


def counted(names: Iterable[str]) -> str:
    """Return the names with their counts, the commonest first, for a message."""
    return ", ".join(f"{name!r} ({count})" for name, count in Counter(names).most_common(_SHOWN))


def listed(keys: Iterable[str]) -> str:
    """Return the keys as a list for a message."""
    keys = list(keys)
    return ", ".join(map(repr, keys[:_SHOWN])) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _kinds_differ(job: SampledJob, profile: QueueProfile, *, numeric_ids: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (key, kind in our payload, kind in the job's) where the kinds differ."""
    ours = _our_payload(job, profile, numeric_ids=numeric_ids)
    for key in (own for own in ours if own in job.data):
        mine, theirs = _kind(ours[key]), _kind(job.data[key])
        if mine != theirs and None not in (ours[key], job.data[key]):
            yield key, mine, theirs


def _our_payload(job: SampledJob, profile: QueueProfile, *, numeric_ids: bool) -> Mapping[str, Any]:
    """Return what we would put into a job for the same campaign, tenant and recipients."""
    tenant = next((job.data.get(key) for key, value in profile.payload.items() if value == "{tenant}"), None)
    recipients = job.data.get(profile.recipients_key)
    ids = tuple(map(str, recipients if isinstance(recipients, list) else [recipients]))
    same = NewJob("", str(job.data.get(profile.campaign_key)), str(tenant), ids)
    try:
        return fill_payload(same, profile, numeric_ids=numeric_ids)
    except Refused:  # ids that are not numbers where ours would be: of another kind in any case
        return {profile.campaign_key: 0, profile.recipients_key: [0]}


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return f"a list of {_MANY.get(_kind(value[0]), 'other things')}" if value else "a list"
        case dict():
            return "a mapping"
        case _:
            return "null"


def _object(text: str | None) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
