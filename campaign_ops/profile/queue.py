"""The part of a profile that describes the queue and its jobs."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from campaign_ops.profile.part import Name, Part
from campaign_ops.profile.placeholders import check_placeholders

_EXCLUSIVE = (
    "failParentOnFailure",
    "continueParentOnFailure",
    "ignoreDependencyOnFailure",
    "removeDependencyOnFailure",
)  # BullMQ refuses a job that has two of them

JsonScalar = str | int | float | bool | None


class QueueProfile(Part):
    """The BullMQ queue and its jobs.

    Attributes:
        name: Name of the queue that batches are re-enqueued into. ``{tenant}`` in it stands for the campaign's tenant:
            every tenant has a queue of its own.
        also: Further queues whose jobs send to the same campaigns, such as one for retries or for another priority.
            All are looked at; nothing is re-enqueued into them. ``{tenant}`` may be part of these names, too.
        job: Name of the jobs that are added.
        further_jobs: Further names under which the application sends to a campaign's recipients. A live job of any
            name that carries the payload's keys covers its recipients; one of these names that cannot be understood
            may be any campaign's, and blocks all of them.
        harmless_jobs: Names of jobs that never send: one that mentions a campaign does not block it.
        payload: The job's data. ``{campaign_id}``, ``{tenant}`` and ``{recipient_ids}`` stand for the values.
        payload_ids: Whether ids of campaigns and recipients are numbers or text in a job; ``auto``: as in the
            database.
        batch_size: Recipients per job.
        options: BullMQ job options, as its clients take them.
        markers: Redis keys, with ``{recipient_id}``, whose existence says that the provider may have the message.
        completed_means: The meaning of a completed job for those of its recipients that are still pending: ``sent``,
            the provider may have their messages, so a person chooses; or ``nothing``, where workers complete jobs
            without sending all of them, so they are re-enqueued.
    """

    name: Name
    also: tuple[Name, ...] = ()
    job: Name
    further_jobs: tuple[Name, ...] = ()
    harmless_jobs: tuple[Name, ...] = ()
    payload: dict[str, JsonScalar]
    payload_ids: Literal["auto", "numbers", "text"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 500
    options: dict[str, JsonScalar | dict[str, JsonScalar]] = Field(default={})
    markers: tuple[str, ...] = ()
    completed_means: Literal["sent", "nothing"] = "sent"

    @property
    def several(self) -> bool:
        """Whether there is more than one queue."""
        return bool(self.also) or "{tenant}" in self.name

    @property
    def campaign_key(self) -> str:
        """The payload key that carries the campaign's id."""
        return next(key for key, value in self.payload.items() if value == "{campaign_id}")

    @property
    def recipients_key(self) -> str:
        """The payload key that carries the recipients' ids."""
        return next(key for key, value in self.payload.items() if value == "{recipient_ids}")

    @model_validator(mode="after")
    def _names(self) -> QueueProfile:
        names = (self.name, *self.also)
        for name in names:
            if others := set(re.findall(r"{(campaign_id|recipient_ids?|campaign|recipient)}", name)):
                msg = f"queue {name!r} holds {{{sorted(others)[0]}}}; only {{tenant}} may be part of a queue's name"
                raise ValueError(msg)
            if self.several and ":" in name:
                msg = f"queue {name!r} holds a colon, which no queue's name may; the prefix is queue_prefix"
                raise ValueError(msg)
        if len({*names}) < len(names):
            msg = f"{next(name for name in names if names.count(name) > 1)!r} is named twice; name every queue once"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _placeholders(self) -> QueueProfile:
        for wanted in ("{campaign_id}", "{recipient_ids}"):
            if wanted not in self.payload.values():
                msg = f"payload needs one key whose value is '{wanted}'; without it no job can be told apart"
                raise ValueError(msg)
        for marker in self.markers:
            if "{recipient_id}" not in marker:
                msg = f"marker {marker!r} does not name {{recipient_id}}"
                raise ValueError(msg)
        check_placeholders("payload", self.payload, ("{campaign_id}", "{tenant}", "{recipient_ids}"), whole=True)
        check_placeholders("markers", list(self.markers), ("{recipient_id}",), whole=False)
        check_placeholders("options", self.options, (), whole=False)
        clash = {self.job, *self.further_jobs} & {*self.harmless_jobs}
        if clash:
            msg = f"job {sorted(clash)[0]!r} sends to recipients, so it cannot stand in harmless_jobs"
            raise ValueError(msg)
        reserved = {"jobId", "repeat", "parent"} & set(self.options)
        if reserved:
            msg = f"option {sorted(reserved)[0]!r} is set by campaign_ops; take it out"
            raise ValueError(msg)
        if len(exclusive := [option for option in _EXCLUSIVE if self.options.get(option)]) > 1:
            msg = f"options {exclusive[0]!r} and {exclusive[1]!r} cannot be used together; keep one of them"
            raise ValueError(msg)
        return self
