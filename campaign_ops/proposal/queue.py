"""The queue of a platform, recognised by jobs that carry ids of its campaigns and recipients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
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
from campaign_ops.profile.habits import COLUMNS, folded
from campaign_ops.profile.queue import QueueProfile
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.tables import Choice

MOST_QUEUES = 50
IDS_LOOKED_UP = 100
_NONE = "without a queue campaigns are completed, and batches are not put back"
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
        for prefix, name in queues[:MOST_QUEUES]:
            reader = QueueReader(QueueAddress(address.url, prefix), _ANY.model_copy(update={"name": name}))
            if _put(draft, connection, choice, name, sample_jobs(reader)):
                draft.queue_prefix = prefix
                return
    except CampaignOpsError as error:
        draft.put("queue", None, f"{error.what}; {_NONE}", unsure=True)
        return
    seen = ids(f"{prefix}:{name}" for prefix, name in queues)
    draft.put(
        "queue",
        None,
        f"no job of a queue carries ids of campaigns and recipients ({seen or 'no queue'}); {_NONE}",
        unsure=True,
    )


def prefix_of(url: SecretStr, name: str) -> str:
    """The prefix under which a queue of this name exists; BullMQ's own where none is seen."""
    try:
        return next((prefix for prefix, _ in queues_on(QueueAddress(url.get_secret_value()), name)), "bull")
    except CampaignOpsError:
        return "bull"  # the doctor says that Redis cannot be read


def _put(draft: Draft, connection: sa.Connection, choice: Choice, name: str, jobs: Sequence[SampledJob]) -> bool:
    """Put this queue into the draft, if one of its jobs carries the ids of a campaign and of recipients."""
    for job_name in [job for job, _ in Counter(job.name for job in jobs).most_common()]:
        named = [job for job in jobs if job.name == job_name]
        campaign = _key(connection, choice.campaign, named, many=False)
        recipients = _key(connection, choice.recipient, named, many=True)
        if campaign is None or recipients is None:
            continue
        draft.put("queue.name", name)
        draft.put("queue.job", job_name, f"{len(named)} sampled jobs carry ids of campaigns and recipients")
        others = sorted({job.name for job in jobs} - {job_name})
        if others:
            note = f"also in the queue: {ids(others)}; those that send belong here"
            draft.put("queue.further_jobs", [], note, unsure=True)
        _payload(draft, named, campaign, recipients)
        draft.put(
            "queue.batch_size", max(len(job.data.get(recipients) or []) for job in named), "the largest sampled batch"
        )
        options = {key: named[0].options[key] for key in ("attempts", "backoff", "priority") if key in named[0].options}
        if options:
            draft.put("queue.options", options)
        note = "keys that workers set before they send, with {recipient_id} in them; without them, none is looked for"
        draft.put("queue.markers", [], note, unsure=True)
        return True
    return False


def _payload(draft: Draft, jobs: Sequence[SampledJob], campaign: str, recipients: str) -> None:
    placeholders = {campaign: "{campaign_id}", recipients: "{recipient_ids}"}
    rest = dict.fromkeys(key for job in jobs for key in job.data if key not in placeholders)
    for key in rest:
        values = [job.data.get(key) for job in jobs]
        scalars = all(isinstance(value, str | int | float | bool | None) for value in values)
        if any(pattern.fullmatch(folded(key)) for pattern in COLUMNS["tenant"]):
            placeholders[key] = "{tenant}"
        elif scalars and len(set(values)) == 1 and len(values) > 1:
            draft.put(f"queue.payload.{key}", values[0], "the same in every sampled job")
        else:
            draft.note("queue.payload", f"jobs also carry {key}, which is not the same in all", unsure=True)
    for key, value in placeholders.items():
        draft.put(f"queue.payload.{key}", value)


def _key(connection: sa.Connection, table: SurveyedTable, jobs: Sequence[SampledJob], *, many: bool) -> str | None:
    """The key of the jobs' data that holds ids of this table: a list of them with ``many``, else one."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in job.data.items():
            if isinstance(value, list) == many:
                values.setdefault(key, set()).update(_ids(value if many else [value]))
    for key, texts in values.items():
        if texts and existing(connection, table, sorted(texts)[:IDS_LOOKED_UP]):
            return key
    return None


def _ids(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
