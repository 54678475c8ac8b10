"""How a platform names things. Data, not code: the built-in profiles are YAML files beside this module.

A user's file may ``extends`` a built-in profile and override any part of it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from campaign_ops.profile.placeholders import check_placeholders

Name = Annotated[str, Field(min_length=1, max_length=63)]
Words = Annotated[tuple[str, ...], Field(min_length=1)]
Candidates = Annotated[tuple[Name, ...], Field(min_length=1)]
JsonScalar = str | int | float | bool | None


class Part(BaseModel):
    """Base of all parts: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CampaignWords(Part):
    """What the words in the campaign's status column mean.

    Attributes:
        sending: The word of a campaign that is being sent.
        done: What it becomes when at least one recipient succeeded.
        failed: What it becomes when all recipients failed; null where the platform has no such word.
        over: Every word after which nothing is sent any more (``done`` and ``failed`` are always among them).
        idle: Words of a campaign that is not sending now but may later.
        optional: Those of ``over`` and ``idle`` that an enum type need not have.
    """

    sending: str
    done: str
    failed: str | None = None
    over: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def all_over(self) -> tuple[str, ...]:
        """``over`` with ``done`` and ``failed`` included."""
        return tuple(dict.fromkeys([self.done, *([self.failed] if self.failed else []), *self.over]))

    @property
    def all_known(self) -> tuple[str, ...]:
        """Every word that the profile gives a meaning to."""
        return tuple(dict.fromkeys([self.sending, *self.all_over, *self.idle]))

    @model_validator(mode="after")
    def _sending_is_not_over(self) -> CampaignWords:
        clash = {self.sending} & {*self.all_over, *self.idle} or {*self.all_over} & {*self.idle}
        if clash:
            msg = f"{sorted(clash)[0]!r} stands in two lists; a campaign word has one meaning"
            raise ValueError(msg)
        return self


class CounterColumns(Part):
    """The campaign's own counts: column names.

    Attributes:
        total: Recipients in all.
        succeeded: Recipients sent to.
        failed: Recipients that failed.
    """

    total: Name
    succeeded: Name
    failed: Name


class CampaignTable(Part):
    """The campaign table and its columns.

    Attributes:
        table: Table name, as it is written in the catalog.
        id: Primary key.
        tenant: Owner of the campaign.
        name: What people call it.
        status: The status column, text or an enum type.
        updated_at: Touched by the application whenever it touches the campaign.
        created_at: When it was made; null where there is none. With ``started_at`` it tells the age of a campaign
            whose ``updated_at`` is NULL.
        started_at: When sending began; null where there is none.
        completed_at: Set when the campaign completes; null where there is none.
        counters: The campaign's own counts; null where there are none.
        words: What the status words mean.
    """

    table: Name
    id: Name
    tenant: Name
    name: Name
    status: Name
    updated_at: Name
    created_at: Name | None = None
    started_at: Name | None = None
    completed_at: Name | None = None
    counters: CounterColumns | None = None
    words: CampaignWords


class RecipientWords(Part):
    """What the words in the recipient's status column mean. A word in no list blocks its campaign.

    Attributes:
        pending: Not sent yet.
        succeeded: Handed to the provider or better.
        failed: Will not be sent any more.
        optional: Those of them that an enum type need not have.
    """

    pending: Words
    succeeded: Words
    failed: Words
    optional: tuple[str, ...] = ()

    @property
    def sent(self) -> str:
        """The word of a recipient that a person takes as sent."""
        return self.succeeded[0]

    @property
    def all_known(self) -> tuple[str, ...]:
        """Every word that the profile gives a meaning to."""
        return (*self.pending, *self.succeeded, *self.failed)

    @model_validator(mode="after")
    def _one_meaning_each(self) -> RecipientWords:
        words = self.all_known
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            msg = f"{twice[0]!r} stands in two lists; a recipient word has one meaning"
            raise ValueError(msg)
        return self


class RecipientTable(Part):
    """The recipient table and its columns. Phone numbers and texts are not among them and are never read.

    Attributes:
        table: Table name.
        id: Primary key.
        campaign_id: The campaign that the row belongs to.
        status: The status column, text or an enum type.
        provider_id: Set when the provider has accepted the message; null where there is none.
        activity: Timestamp columns that show that a recipient moved.
        about: Says whom a row is about, so that a failed try and its retry are one recipient (with ``rows: sent``). A
            name must exist; of a list the first column that exists and may be read is taken, or none.
        created_at: When the row was made, so that rows of an earlier run are told apart (with ``rows: sent``); without
            it, the earliest of ``activity``. A name or a list, as ``about``.
        rows: ``all`` when every recipient has a row from the start; ``sent`` when rows appear only when sent, so
            that the total is the campaign's own counter.
        words: What the status words mean.
    """

    table: Name
    id: Name
    campaign_id: Name
    status: Name
    provider_id: Name | None = None
    activity: tuple[Name, ...] = ()
    about: Name | Candidates | None = None
    created_at: Name | Candidates | None = None
    rows: Literal["all", "sent"] = "all"
    words: RecipientWords


class ReservationWords(Part):
    """What the words in the reservation's status column mean.

    Attributes:
        held: Credits are set aside.
        released: Credits are free again.
        over: Further words under which nothing is set aside. A campaign whose reservations all have words that stand
            nowhere here is not completed.
    """

    held: str
    released: str
    over: tuple[str, ...] = ()

    @property
    def all_known(self) -> tuple[str, ...]:
        """Every word that the profile gives a meaning to."""
        return tuple(dict.fromkeys([self.held, self.released, *self.over]))

    @model_validator(mode="after")
    def _one_meaning_each(self) -> ReservationWords:
        if self.held == self.released or self.held in self.over:
            msg = f"{self.held!r} stands in two places; a reservation word has one meaning"
            raise ValueError(msg)
        return self


class ReservationTable(Part):
    """The credit reservation table and its columns.

    Attributes:
        table: Table name.
        id: Primary key.
        tenant: Whose credits they are.
        campaign_id: What they are held for.
        amount: How many.
        status: The status column, text or an enum type.
        created_at: When the hold began.
        expires_at: When it should end; null where there is none.
        released_at: Set when it ends; null where there is none.
        updated_at: Touched whenever the reservation is; null where there is none, or where a trigger sees to it.
        words: What the status words mean.
    """

    table: Name
    id: Name
    tenant: Name
    campaign_id: Name
    amount: Name
    status: Name
    created_at: Name
    expires_at: Name | None = None
    released_at: Name | None = None
    updated_at: Name | None = None
    words: ReservationWords


class BalanceTable(Part):
    """Where a tenant's credits stand. Only read: an undo holds released credits again only if the tenant has them.

    Attributes:
        table: Table name.
        tenant: The tenant's id, as the reservations have it.
        credits: How many credits the tenant has.
        includes_held: Whether credits that are held are counted among them; else they are those that can be spent.
    """

    table: Name
    tenant: Name
    credits: Name
    includes_held: bool


class QueueProfile(Part):
    """The BullMQ queue: what a job looks like.

    Attributes:
        name: Name of the queue that batches are put back into. ``{tenant}`` in it stands for the campaign's tenant:
            every tenant has a queue of its own.
        also: Further queues whose jobs send to the same campaigns, such as one for retries or for another priority.
            All are looked at; nothing is put back into them. ``{tenant}`` may be part of these names, too.
        job: Name of the jobs that are added.
        further_jobs: Further names under which the application sends to a campaign's recipients. A live job of any
            name that carries the payload's keys covers its recipients; one of these names that cannot be understood
            may be anybody's, and blocks every campaign.
        harmless_jobs: Names of jobs that never send: one that mentions a campaign does not block it.
        payload: The job's data. ``{campaign_id}``, ``{tenant}`` and ``{recipient_ids}`` stand for the values.
        payload_ids: Whether ids of campaigns and recipients are numbers or text in a job; ``auto`` for what they are in
            the database.
        batch_size: Recipients per job.
        options: BullMQ job options, as its clients take them.
        markers: Redis keys, with ``{recipient_id}``, whose existence says that the provider may have the message.
        completed_means: What a completed job that is kept says of its recipients that are still pending: ``sent``, that
            the provider may have their messages, so that a person chooses; or ``nothing``, where workers complete
            jobs without sending all of them, so that they are put back.
    """

    name: Name
    also: tuple[Name, ...] = ()
    job: Name
    further_jobs: tuple[Name, ...] = ()
    harmless_jobs: tuple[Name, ...] = ()
    payload: dict[str, JsonScalar]
    payload_ids: Literal["auto", "numbers", "text"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 500
    options: dict[str, JsonScalar | dict[str, JsonScalar]] = {}
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
            msg = f"{next(one for one in names if names.count(one) > 1)!r} is named twice; name every queue once"
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
        return self


class Profile(Part):
    """How one kind of platform names its tables, columns, words and jobs.

    Attributes:
        name: What the profile is called.
        db_schema: PostgreSQL schema of the platform's tables (key ``schema``).
        id_type: Type of the ids; ``auto`` takes the column's own. Integer ids are numbers in a job's payload.
        campaign: The campaign table.
        recipient: The recipient table.
        reservation: The credit reservations; null where there are none.
        balance: The tenants' credits; null where no column holds them, or where it is not to be read.
        queue: The queue; null where the platform sends in process.
    """

    name: Name
    db_schema: Name = Field(default="public", alias="schema")
    id_type: Literal["auto", "text", "uuid", "integer", "bigint"] = "auto"
    campaign: CampaignTable
    recipient: RecipientTable
    reservation: ReservationTable | None = None
    balance: BalanceTable | None = None
    queue: QueueProfile | None = None

    @property
    def tables_key(self) -> str:
        """Names the campaign table within its database: the sweep lock and all that decides are kept under it.

        As in the catalog, ``public.Campaign``; a part that holds a dot or a quote itself is quoted.
        """
        parts = (self.db_schema, self.campaign.table)
        return ".".join('"' + part.replace('"', '""') + '"' if {".", '"'} & {*part} else part for part in parts)

    @model_validator(mode="after")
    def _balance_is_apart(self) -> Profile:
        if self.balance is None:
            return self
        if self.reservation is None:
            msg = "balance is only read to hold released credits again; without reservation leave it out"
            raise ValueError(msg)
        if self.balance.table in (self.campaign.table, self.recipient.table, self.reservation.table):
            msg = f"balance.table {self.balance.table!r} is one of the other tables; it needs one row per tenant"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _total_is_known(self) -> Profile:
        if self.recipient.rows == "sent" and self.campaign.counters is None:
            msg = "recipient.rows is 'sent', so campaign.counters must say where the total stands"
            raise ValueError(msg)
        if self.recipient.rows == "sent" and self.queue is not None:
            msg = (
                "recipient.rows is 'sent', so nobody can tell which recipients the queue has lost;"
                " set queue to null: campaigns are found and completed, batches are not put back"
            )
            raise ValueError(msg)
        return self
