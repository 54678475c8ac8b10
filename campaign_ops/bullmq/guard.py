"""The last check before an add, made inside Redis in the same atomic step as the add itself.

Between our last look at the queue and the add we read rows and markers over the network. `guarded_add.lua` first checks
that what was seen still holds and only then runs BullMQ's own script for each job: no other client can come in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from campaign_ops.bullmq.payload import named
from campaign_ops.bullmq.states import may_come_again
from campaign_ops.core.errors import QueueUnavailable, Refused
from campaign_ops.profile.queue import QueueProfile

MAX_NEW_JOBS = 1_000  # judged inside Redis, which does nothing else meanwhile
EVENTS_LOOKED_AT = 10_000  # BullMQ keeps about as many

_GUARDED = (resources.files("campaign_ops.bullmq") / "guarded_add.lua").read_text(encoding="utf-8")


class LookAgain(Refused):
    """The last look no longer holds: it is too old, or a job came that cannot be judged. Nothing was added."""


class NothingAdded(QueueUnavailable):
    """Redis answered that it cannot add: out of memory, no replicas, a missing right; or BullMQ's client cannot.

    Nothing was added.
    """


class PartlyAdded(QueueUnavailable):
    """Redis answered with such an error after it had added some of the jobs, ``added``; none of the others."""

    def __init__(self, added: frozenset[str], error: QueueUnavailable) -> None:
        super().__init__(error.what, where=error.where, mend=error.mend)
        self.added = added


@dataclass(frozen=True)
class LastLook:
    """The queue as it was at the last look before an add.

    Attributes:
        live: Every live job id and its state.
        at: Redis's own clock a moment before, in seconds; None where TIME is refused.
        event: Id of the newest of the queue's events a moment before; None where they cannot be read.
        parts: Of several queues, the look at each by name.
    """

    live: Mapping[str, str]
    at: float | None = None
    event: str | None = None
    parts: Mapping[str, LastLook] = field(default_factory=dict)


@dataclass(frozen=True)
class OtherQueue:
    """Another queue of the platform: a job that came there takes the campaign too.

    ``prefix`` is that of its keys; ``look`` and ``dated`` are as in `Guard`.
    """

    prefix: str
    look: LastLook
    dated: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class Guard:
    """The conditions that must still hold when jobs are added.

    Attributes:
        look: The last look. A job that is not in it is new.
        ours: Jobs of our own: never new.
        dated: Jobs whose id may be used again for another job, as `Reading.dated`.
        server_id: The Redis process that was looked at; None where it is not known.
        max_seconds: The greatest age of the look.
        others: The platform's other queues.
    """

    look: LastLook
    ours: Collection[str] = ()
    dated: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    server_id: str | None = None
    max_seconds: float = 60
    others: Sequence[OtherQueue] = ()


def canonical(campaign_id: str) -> str:
    """Reduce an id to what its spellings have in common, as the script does with what it reads in jobs.

    Two campaigns may share it: then one waits for the other.
    """
    whole = re.sub(r"\A(\s*[+-]?\d+)\.0*\s*\Z", r"\1", campaign_id, flags=re.ASCII)
    return re.sub(r"[^A-Za-z0-9]", "", whole).lower().removeprefix("urnuuid").lstrip("0")


def _mention(campaign_id: str) -> str:
    """Return a Lua pattern that finds the id as a word in text in lower case, however its parts are joined."""
    words = re.findall(r"[a-z0-9]+", campaign_id.lower())
    if not words:
        return ""  # matches any text
    zeros = "0*" if words[0].isdigit() else ""
    return f"%f[%w]{zeros}{'[^%w]*'.join(words)}%f[%W]"


def packed(guard: Guard | None, campaign_ids: Collection[str], profile: QueueProfile) -> bytes:
    """Return the guard as the script reads it. Without one, only the queue's pause and taken ids keep a job out."""
    conditions: dict[str, Any] = {}
    if guard is not None:
        wanted = set(campaign_ids)
        conditions = {
            **_seen(guard.look, guard.dated, guard.ours, wanted),
            "others": [
                {"prefix": other.prefix, **_seen(other.look, other.dated, guard.ours, wanted)} for other in guard.others
            ],
            "server": guard.server_id or "",
            "deadline": -1 if guard.look.at is None else guard.look.at + guard.max_seconds,
            "sends": dict.fromkeys((profile.job, *profile.further_jobs), True),
            "harmless": dict.fromkeys(profile.harmless_jobs, True),
            "mentions": [(_mention(campaign), canonical(campaign)) for campaign in sorted(wanted)],
            "campaign_key": profile.campaign_key.lower(),
            "recipients_key": profile.recipients_key.lower(),
        }
    # Ids may be any bytes: in ours they appear as lone surrogates.
    return json.dumps(conditions, ensure_ascii=False).encode(errors="surrogateescape")


def _seen(
    look: LastLook,
    dated: Mapping[str, tuple[str | None, str | None]],
    ours: Collection[str],
    wanted: Collection[str],
) -> dict[str, Any]:
    """Return what was seen of one queue."""
    about = [(job_id, job) for job_id, job in dated.items() if job[0] in wanted or may_come_again(job_id)]
    return {
        "known": [*look.live, *ours],
        "dated": [(job_id, made or "", canonical(campaign or "")) for job_id, (campaign, made) in about],
        "event": look.event or "",
    }


def script(add_job: str) -> str:
    """Return the text of the guarded add around BullMQ's own script for one job."""
    bounds = f"local MAX_NEW, MAX_EVENTS = {MAX_NEW_JOBS}, {EVENTS_LOOKED_AT}"
    return f"{bounds}\nlocal function add_job(KEYS, ARGV)\n{add_job}\nend\n{_GUARDED}"


def refusal(answer: Sequence[Any], where: str) -> Refused:
    """Return the error that the script's refusal means."""
    match answer[0]:
        case "paused":
            return Refused("nothing is added to this queue: it is paused", where=where, mend="resume it first")
        case "replaced":
            return Refused(
                "nothing is added to this queue: Redis was restarted or replaced since it was looked at",
                where=where,
                mend="the next sweep looks again",
            )
        case "late":
            return LookAgain(
                "nothing is added to this queue: the last look at it is too old",
                where=where,
                mend="the next sweep looks again",
            )
        case _:
            return LookAgain(
                f"job {named(answer[1])} came meanwhile and cannot be read, so it may cover any recipient",
                where=where,
                mend="the next sweep looks again",
            )
