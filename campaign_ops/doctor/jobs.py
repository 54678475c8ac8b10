"""The profile against the jobs in the queue, finished ones included: names, payloads, batches, options, ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from campaign_ops.bullmq.sample import SampledJob, counted, differences, listed, misfit, names_of, sample_jobs
from campaign_ops.bullmq.states import LIVE
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.platform import Platform
from campaign_ops.postgres import inspection, samples
from campaign_ops.profile.queue import QueueProfile

STATEMENT_SECONDS = 2.0
LOCK_SECONDS = 0.5
IDS_LOOKED_UP = 100
# The options of BullMQ that change how and when our jobs run among the application's.
_OPTIONS = ("attempts", "backoff", "priority", "lifo")


def jobs(platform: Platform) -> Iterator[Finding]:
    """Compare the jobs that a sweep would add with a few jobs of each state. No findings without a queue."""
    if platform.queue is None:
        return
    try:
        sample = sample_jobs(platform.queue)
    except CampaignOpsError:
        return  # the examination of the queue reports it
    if not sample:
        what = "the queue holds no job of the application, so the profile's job name and payload could not be checked"
        yield Finding("queue_jobs", Level.NOTE, what)
        return
    try:
        with platform.database.transaction(read_only=True) as connection:
            numeric = platform.tables(connection).catalog.numeric_ids(platform.profile)
    except CampaignOpsError:
        what = "jobs were not compared with the profile, because the platform's tables could not be read"
        yield Finding("queue_jobs", Level.NOTE, what)
        return
    profile = platform.queue.profile
    problem = misfit(sample, profile, numeric_ids=numeric)
    yield _names(sample, profile) if problem is None else Finding("queue_jobs", Level.ERROR, problem.what, problem.mend)
    named = [job for job in sample if job.name in names_of(profile)]
    if problem is not None or not named:
        return
    differing = list(differences(named, profile, numeric_ids=numeric))
    for difference in differing:
        yield Finding("queue_payload", Level.WARNING, difference.what, difference.mend)
    if not differing:
        yield Finding("queue_payload", Level.OK, f"the profile's payload matches {len(named)} sampled jobs, key by key")
    yield _batches(named, profile)
    yield from _options(named, profile)
    yield from _ids(platform, named)


def _names(sample: Sequence[SampledJob], profile: QueueProfile) -> Finding:
    known = {*names_of(profile), *profile.harmless_jobs}
    others = [job for job in sample if job.name not in known]
    wanted = " or ".join(map(repr, names_of(profile)))
    if len(others) == len(sample):
        keys = dict.fromkeys(key for job in sample for key in job.data)
        what = f"none of {len(sample)} sampled jobs is named {wanted}; there are {counted(job.name for job in sample)},"
        what += f" with the keys {listed(keys)}"
        return Finding("queue_jobs", Level.ERROR, what, "correct queue.job, queue.payload or queue.name")
    if others:
        what = f"apart from {wanted} there are jobs named {counted(job.name for job in others)}"
        mend = "put those that send into queue.further_jobs, and those that never do into queue.harmless_jobs"
        return Finding("queue_jobs", Level.NOTE, what, mend)
    return Finding("queue_jobs", Level.OK, f"{len(sample)} sampled jobs are named {wanted}")


def _batches(named: Sequence[SampledJob], profile: QueueProfile) -> Finding:
    lists = [job.data.get(profile.recipients_key) for job in named]
    largest = max((len(ids) for ids in lists if isinstance(ids, list)), default=0)
    what = f"the application's batches have at most {largest} recipients; queue.batch_size is {profile.batch_size}"
    if largest > profile.batch_size:
        return Finding("queue_batches", Level.NOTE, what, f"set queue.batch_size to {largest}")
    full = sum(isinstance(ids, list) and len(ids) == largest for ids in lists)
    if largest < profile.batch_size and full > 1:
        mend = f"set queue.batch_size to {largest}, if workers cannot take more"
        return Finding("queue_batches", Level.WARNING, what, mend)
    return Finding("queue_batches", Level.OK, what)


def _options(named: Sequence[SampledJob], profile: QueueProfile) -> Iterator[Finding]:
    """Report options that all of the application's jobs have and ours would not."""
    unlike = False
    for name in _OPTIONS:
        theirs = [_normal(name, job.options.get(name)) for job in named]
        ours = _normal(name, profile.options.get(name))
        if ours in theirs:
            continue
        unlike = True
        there = next(name for name in theirs if name != ours)
        what = f"the application's jobs have {name} {there!r}; ours would have {ours!r}"
        yield Finding("queue_options", Level.WARNING, what, f"set queue.options.{name} to what workers expect")
    if not unlike:
        yield Finding("queue_options", Level.OK, f"{', '.join(_OPTIONS)} match the sampled jobs")


def _normal(name: str, value: Any) -> Any:
    """Return an option as BullMQ understands it: absent is the default, a number of milliseconds a fixed back-off."""
    if name == "attempts":
        return value or 1
    if name == "priority":
        return value or 0
    if name == "lifo":
        return bool(value)
    return {"type": "fixed", "delay": value} if isinstance(value, int) and value else value or None


def _ids(platform: Platform, named: Sequence[SampledJob]) -> Iterator[Finding]:
    """Report ids in jobs that are not those of campaigns and recipients."""
    assert platform.queue is not None
    profile = platform.queue.profile
    lists = [job.data.get(profile.recipients_key) for job in named]
    recipients = [str(id_) for ids in lists if isinstance(ids, list) for id_ in ids[:IDS_LOOKED_UP]]
    campaigns = [str(job.data[profile.campaign_key]) for job in named if profile.campaign_key in job.data]
    try:
        with platform.database.transaction(read_only=True) as connection:
            inspection.be_impatient(connection, statement_seconds=STATEMENT_SECONDS, lock_seconds=LOCK_SECONDS)
            tables = platform.tables(connection)
            looked_up = [
                ("campaign", profile.campaign_key, campaigns[:IDS_LOOKED_UP], tables.campaign),
                ("recipient", profile.recipients_key, recipients[:IDS_LOOKED_UP], tables.recipient),
            ]
            there = [samples.existing(connection, table, ids) for _, _, ids, table in looked_up]
    except CampaignOpsError:
        what = "the ids in jobs could not be looked up in the database, or do not have the types of its columns"
        yield Finding("queue_ids", Level.NOTE, what)
        return
    unknown = [wanted for wanted, found in zip(looked_up, there, strict=True) if wanted[2] and not found]
    for role, key, ids, table in unknown:
        what = f"none of {len(ids)} ids under {key!r} in jobs is the id of a {role} in {table.name!r}"
        mend = f"correct queue.payload, {role}.table or {role}.id of the profile, or database_url"
        live = any(job.state in LIVE for job in named)
        yield Finding("queue_ids", Level.ERROR if live else Level.WARNING, what, mend)
    if not unknown:
        yield Finding("queue_ids", Level.OK, "the ids in jobs are those of campaigns and recipients")
