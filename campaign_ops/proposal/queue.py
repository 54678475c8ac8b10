"""The queue of a platform, recognised by jobs that carry ids of its campaigns and recipients."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.bullmq.discovery import queues_on
from campaign_ops.bullmq.queue import QueueAddress
from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.bullmq.sample import SampledJob, sample_jobs
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.wording import ids
from campaign_ops.postgres.survey import SurveyedTable, existing
from campaign_ops.profile.habits import COLUMNS, TEXTS, folded
from campaign_ops.profile.queue import QueueProfile
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.tables import Choice

MOST_QUEUES = 50
IDS_LOOKED_UP = 100
_NONE = "without a queue campaigns are completed, and batches are not put back"
_WORD = re.compile(r"[\w.:-]{1,64}")
# Reading a queue needs a profile; of this one only the name counts.
_ANY = QueueProfile(name="any", job="any", payload={"campaign": "{campaign_id}", "recipients": "{recipient_ids}"})


def put_queue(
    draft: Draft, connection: sa.Connection, choice: Choice, url: SecretStr | None, *, when_sent: bool
) -> None:
    """Put the queue into the draft; null, with the reason, where none is recognised.

    Args:
        draft: The draft.
        connection: To the platform's database, for the ids in jobs.
        choice: The platform's tables.
        url: Its Redis; None where none was named.
        when_sent: Whether recipients have rows only when they are sent to: then the profile can have no queue.
    """
    if when_sent:
        draft.put("queue", None, "where rows appear only when sent, lost batches cannot be found")
        return
    if url is None:
        draft.put("queue", None, f"no Redis was named; {_NONE}", unsure=True)
        return
    address = QueueAddress(url.get_secret_value())
    try:
        queues = queues_on(address)
        fitting = list(_fitting(connection, choice, address, queues[:MOST_QUEUES]))
    except CampaignOpsError as error:
        draft.put("queue", None, f"{error.what}; {_NONE}", unsure=True)
        return
    if not fitting:
        seen = ids(f"{prefix}:{name}" for prefix, name in queues)
        what = f"no job carries ids of campaigns and recipients; queues: {seen or 'none'}; {_NONE}"
        draft.put("queue", None, what, unsure=True)
        return
    best, *others = sorted(fitting, key=lambda queue: queue.share, reverse=True)
    draft.queue_prefix = best.prefix
    _put(draft, best, [f"{queue.prefix}:{queue.name}" for queue in others])


def prefix_of(url: SecretStr, name: str) -> str:
    """The prefix under which a queue of this name exists; BullMQ's own where none is seen."""
    try:
        return next((prefix for prefix, _ in queues_on(QueueAddress(url.get_secret_value()), name)), "bull")
    except CampaignOpsError:
        return "bull"  # the doctor says that Redis cannot be read


@dataclass(frozen=True)
class _Queue:
    """A queue with jobs for this platform.

    Attributes:
        prefix: Its prefix.
        name: Its name.
        job: The name of those jobs.
        jobs: A sample of them.
        further: The names of its other jobs.
        campaign: The key of the campaign's id.
        recipients: The key of the recipients' ids.
        share: Of the ids in the sample, the share that exists: campaigns' and recipients' added up.
    """

    prefix: str
    name: str
    job: str
    jobs: Sequence[SampledJob]
    further: Sequence[str]
    campaign: str
    recipients: str
    share: float


def _fitting(
    connection: sa.Connection, choice: Choice, address: QueueAddress, queues: Iterable[tuple[str, str]]
) -> Iterator[_Queue]:
    """The queues of which a job carries the ids of a campaign and of recipients."""
    for prefix, name in queues:
        reader = QueueReader(QueueAddress(address.url, prefix), _ANY.model_copy(update={"name": name}))
        jobs = sample_jobs(reader)
        for job, _ in Counter(each.name for each in jobs).most_common():
            named = [each for each in jobs if each.name == job]
            campaign, of_campaigns = _key(connection, choice.campaign, named, many=False)
            recipients, of_recipients = _key(connection, choice.recipient, named, many=True)
            if campaign and recipients:
                further = sorted({each.name for each in jobs} - {job})
                yield _Queue(prefix, name, job, named, further, campaign, recipients, of_campaigns + of_recipients)
                break


def _put(draft: Draft, queue: _Queue, others: Sequence[str]) -> None:
    draft.put("queue.name", queue.name)
    if others:
        note = f"{ids(others)}: such ids, too; a queue from which the same application sends must be named here"
        draft.put("queue.also", [], note, unsure=True)
    draft.put("queue.job", queue.job, f"{len(queue.jobs)} sampled jobs carry ids of campaigns and recipients")
    if queue.further:
        note = f"also in the queue: {ids(queue.further)}; those that send belong here"
        draft.put("queue.further_jobs", [], note, unsure=True)
    _payload(draft, queue.jobs, queue.campaign, queue.recipients)
    batches = [job.data.get(queue.recipients) for job in queue.jobs]
    largest = max((len(batch) for batch in batches if isinstance(batch, list)), default=1)
    draft.put("queue.batch_size", largest, "the largest sampled batch")
    theirs = queue.jobs[0].options
    if options := {key: theirs[key] for key in ("attempts", "backoff", "priority") if key in theirs}:
        draft.put("queue.options", options)
    note = "keys that workers set before they send, with {recipient_id} in them; without them, none is looked for"
    draft.put("queue.markers", [], note, unsure=True)


def _payload(draft: Draft, jobs: Sequence[SampledJob], campaign: str, recipients: str) -> None:
    placeholders, unlike = {campaign: "{campaign_id}", recipients: "{recipient_ids}"}, []
    draft.note("queue.payload", "")
    for key in dict.fromkeys(key for job in jobs for key in job.data if key not in placeholders):
        values = {json.dumps(job.data.get(key)) for job in jobs}
        if any(pattern.fullmatch(folded(key)) for pattern in COLUMNS["tenant"]):
            placeholders[key] = "{tenant}"
        elif len(jobs) > 1 and len(values) == 1 and _is_setting(key, jobs[0].data[key]):
            draft.put("queue.payload", jobs[0].data[key], "the same in every sampled job", key=key)
        else:
            unlike.append(key)
    for key, value in placeholders.items():
        draft.put("queue.payload", value, key=key)
    if unlike:
        draft.note("queue.payload", f"jobs also carry {', '.join(unlike)}: add what workers need of it", unsure=True)


def _is_setting(key: str, value: object) -> bool:
    """Return whether a value may stand in a draft: a number or a word, and no text that people get."""
    if TEXTS.search(folded(key)):
        return False
    return isinstance(value, int | float) or (isinstance(value, str) and _WORD.fullmatch(value) is not None)


def _key(
    connection: sa.Connection, table: SurveyedTable, jobs: Sequence[SampledJob], *, many: bool
) -> tuple[str | None, float]:
    """The key of the jobs' data that holds ids of this table (with ``many`` a list), and the share that exists."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in job.data.items():
            if isinstance(value, list) == many:
                values.setdefault(key, set()).update(_ids(value if many else [value]))
    shares = {}
    for key, texts in values.items():
        asked = sorted(texts)[:IDS_LOOKED_UP]
        shares[key] = len(existing(connection, table, asked)) / len(asked) if asked else 0.0
    best = max(shares, key=lambda key: shares[key], default=None)
    return (best, shares[best]) if best is not None and shares[best] else (None, 0.0)


def _ids(values: Iterable[Any]) -> list[str]:
    texts = [str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
    return [text for text in texts if _WORD.fullmatch(text)]
