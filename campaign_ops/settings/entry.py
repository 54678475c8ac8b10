"""The entry of a platform in the configuration file: keys, limits, defaults and meanings.

docs/configuration.md is generated from here. The settings that the program gets from an entry are in ``model``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from campaign_ops.core.policy import EmptyPolicy, Policy
from campaign_ops.postgres.database import Timeouts
from campaign_ops.profile.model import Profile
from campaign_ops.settings.model import DEFAULT_QUEUE_PREFIX, DEFAULT_SCHEDULE, PlatformSettings
from campaign_ops.settings.urls import checked_queue_url, normal_database_url

_POLICY = Policy()
_TIMEOUTS = Timeouts()
_DAY = 86_400
# With any other owner Dagster refuses every definition of the platform.
OWNER = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}\b|team:.+")


def words(text: str) -> Any:
    """The accepted values in words, for the docs and for messages."""
    return Field(json_schema_extra={"words": text})


def fit_name(name: str) -> bool:
    """Return whether a platform may have this name: Dagster's keys, metrics and locks contain it."""
    return re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) is not None


def check_name(name: str) -> str:
    """Return a name that is fit; raise ValueError for another."""
    if not fit_name(name):
        raise ValueError("takes 1 to 31 lower-case letters, digits and underscores, beginning with a letter")
    return name


def check_web_address(address: str) -> str:
    """Return a web address; raise ValueError for another text, which is not shown: it may be a secret."""
    if not re.match(r"https?://[^\s/]", address):
        raise ValueError("is not an address that starts with http:// or https://")
    return address


def _check_contact(contact: str) -> str:
    if not OWNER.fullmatch(contact):
        raise ValueError("takes a mail address or team:<name>")
    return contact


@cache
def _ever_comes(schedule: str) -> bool:
    """Return whether a cron expression ever ticks: not on the 30th of February, nor on the 31st of April."""
    try:
        croniter(schedule, datetime(2000, 1, 1, tzinfo=UTC)).get_next()
    except CroniterBadDateError:
        return False
    return True


def _check_schedule(schedule: str) -> str:
    # Six fields (seconds) are cron to croniter, not to Dagster.
    if croniter.is_valid(schedule) and len(croniter.expand(schedule)[0]) == 5 and _ever_comes(schedule):
        return schedule
    raise ValueError(f'is not a cron expression of five fields that ever comes; write for example "{DEFAULT_SCHEDULE}"')


class Section(BaseModel):
    """Base of the file's sections: an unknown key is an error, a key without a value counts as absent."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: object) -> object:
        # `thresholds:` with every line under it commented out.
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}


class Numbers(Section):
    """A section of limits. A boolean is not a number."""

    @field_validator("*", mode="before")
    @classmethod
    def _not_a_boolean(cls, value: object) -> object:
        # `yes` would pass as 1.
        return str(value) if isinstance(value, bool) else value


class ThresholdsEntry(Numbers):
    """When a campaign counts as stuck, and how much one sweep may do.

    Attributes:
        stuck_after_seconds: How long a sending campaign may stay untouched before it counts as stuck, and one that is
            over before a sweep releases its credits.
        alert_after_seconds: How long a campaign may be stuck before a person is alerted.
        cooldown_seconds: How long a re-enqueued campaign is left alone.
        max_attempts: Re-enqueues without progress before a campaign is quarantined for a person.
        reservation_max_age_seconds: Greatest age of a credit reservation whose campaign is not sending.
        empty_campaigns: What a sweep does with a stuck campaign without recipients.
        breaker_share: A sweep that would repair more than this share of all sending campaigns waits for a person.
        breaker_floor: The breaker does not trip for up to this many campaigns, whatever their share.
        backlog_limit: Waiting jobs above which the queue is reported as backlogged.
        max_queue_depth: Waiting jobs up to which a sweep fills the queue; it re-enqueues nothing beyond that.
        max_jobs_per_sweep: Most jobs that one sweep adds; the next sweep continues.
        max_releases_per_sweep: Most leaked reservations that one sweep releases, not counting those of the campaigns
            that it completes; the next sweep continues.
        history_days: How long the rows of each sweep are kept; its figures and the journal are never deleted.
    """

    stuck_after_seconds: Annotated[int, Field(ge=1, le=30 * _DAY)] = _POLICY.stuck_after_seconds
    alert_after_seconds: Annotated[int, Field(ge=1, le=30 * _DAY)] = _POLICY.alert_after_seconds
    cooldown_seconds: Annotated[int, Field(ge=1, le=30 * _DAY)] = _POLICY.cooldown_seconds
    max_attempts: Annotated[int, Field(ge=1, le=100)] = _POLICY.max_attempts
    reservation_max_age_seconds: Annotated[int, Field(ge=1, le=365 * _DAY)] = _POLICY.reservation_max_age_seconds
    empty_campaigns: EmptyPolicy = _POLICY.empty_campaigns
    breaker_share: Annotated[float, Field(gt=0, le=1)] = _POLICY.breaker_share
    breaker_floor: Annotated[int, Field(ge=0, le=1_000_000)] = _POLICY.breaker_floor
    backlog_limit: Annotated[int, Field(ge=1, le=100_000_000)] = _POLICY.backlog_limit
    max_queue_depth: Annotated[int, Field(ge=1, le=100_000_000)] = _POLICY.max_queue_depth
    max_jobs_per_sweep: Annotated[int, Field(ge=1, le=1_000_000)] = _POLICY.max_jobs_per_sweep
    max_releases_per_sweep: Annotated[int, Field(ge=1, le=1_000_000)] = _POLICY.max_releases_per_sweep
    history_days: Annotated[int, Field(ge=1, le=3_650)] = _POLICY.history_days


class TimeoutsEntry(Numbers):
    """How long servers and the network may take.

    Attributes:
        connect_seconds: Connecting to the database.
        statement_seconds: One statement.
        lock_seconds: Waiting for a row that another transaction has locked.
        queue_seconds: One reply of the queue's Redis.
    """

    connect_seconds: Annotated[float, Field(ge=1, le=300)] = _TIMEOUTS.connect_seconds
    statement_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = _TIMEOUTS.statement_seconds
    lock_seconds: Annotated[float, Field(ge=0.1, le=600)] = _TIMEOUTS.lock_seconds
    queue_seconds: Annotated[float, Field(ge=0.1, le=600)] = _TIMEOUTS.queue_seconds


class PlatformEntry(Section):
    """One entry of ``platforms``, in which the profile has already replaced its name or path.

    Attributes:
        name: The platform's name; Dagster's keys, the metrics and the journal use it.
        profile: How the platform names its tables, columns, words and jobs. A path is relative to the file it is in.
        database_url: The platform's database, as its application writes the URL. Of Prisma's parameters only ``schema``
            is used, and only if the profile names none.
        queue_url: The Redis of its queue; required if the profile has a queue, else not allowed.
        queue_prefix: BullMQ's key prefix.
        contact: The person or team to ask; Dagster shows it as the owner.
        thresholds: When a campaign counts as stuck, and how much one sweep may do.
        timeouts: How long servers and the network may take.
        schedule: When to sweep, in UTC.
    """

    name: Annotated[str, AfterValidator(check_name), words("1 to 31 lower-case letters, digits and underscores")]
    profile: Annotated[Profile, words("the name of a built-in profile, a path to a YAML file, or a mapping")]
    database_url: Annotated[SecretStr, AfterValidator(normal_database_url), words("a PostgreSQL URL")]
    queue_url: Annotated[SecretStr, AfterValidator(checked_queue_url), words("a Redis URL")] | None = None
    queue_prefix: Annotated[str, Field(min_length=1, max_length=100)] = DEFAULT_QUEUE_PREFIX
    contact: Annotated[str, AfterValidator(_check_contact), words("a mail address, `team:<name>`")] | None = None
    thresholds: ThresholdsEntry = ThresholdsEntry()
    timeouts: TimeoutsEntry = TimeoutsEntry()
    schedule: Annotated[str, AfterValidator(_check_schedule), words("a cron expression")] = DEFAULT_SCHEDULE

    def settings(self) -> PlatformSettings:
        """The settings that this entry gives the program."""
        return PlatformSettings(
            name=self.name,
            profile=self.profile,
            database_url=self.database_url,
            queue_url=self.queue_url,
            queue_prefix=self.queue_prefix,
            contact=self.contact,
            policy=Policy(**self.thresholds.model_dump()),
            timeouts=Timeouts(**self.timeouts.model_dump()),
            schedule=self.schedule,
        )
