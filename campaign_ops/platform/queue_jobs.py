"""What a BullMQ job says: its payload decoded, and whom the live jobs of a snapshot cover.

A payload of ours that cannot be decoded is never taken for coverage, nor for its absence: it is said out loud.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from campaign_ops.core.model import QueueState
from campaign_ops.platform.profile import QueueProfile

if TYPE_CHECKING:
    from campaign_ops.platform.queue_read import QueueReader


@dataclass(frozen=True)
class LiveJob:
    """One job of ours that is not over. ``doomed``: it will fail when a worker takes it, so it covers nobody."""

    id: str
    state: str
    campaign_id: str
    recipient_ids: tuple[str, ...]
    doomed: bool


@dataclass(frozen=True)
class FailedJob:
    """One job of ours that ran out of attempts."""

    id: str
    campaign_id: str
    recipient_ids: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """Every live job id of the queue at one moment.

    Attributes:
        state: Counts and flags of that moment.
        live: Job id to the state it stood in. All of them: look at the depth first where memory is short.
        failed: The newest failed ids, newest first, of which there may be more.
        finished: Ids that `LiveJobs` found finished, or doomed: whatever is under such an id later is a new job.
        covering: Id of each job that `LiveJobs` found to cover somebody, to its campaign and the time it was made:
            another job may be under the same id later.
    """

    state: QueueState
    live: Mapping[str, str]
    failed: tuple[str, ...]
    finished: set[str] = field(default_factory=set, compare=False)
    covering: dict[str, tuple[str, str | None]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Payload:
    """What a job's data says; None for a part that cannot be read."""

    campaign_id: str | None
    recipient_ids: tuple[str, ...] | None


def named(job_id: str) -> str:
    """A job's id as it may stand in a message: others may call their jobs whatever they like."""
    return job_id if job_id.isprintable() else ascii(job_id)


def decode(data: str | None, profile: QueueProfile) -> Payload:
    """Read campaign and recipients from a job's JSON. Ids may be strings or integers; both come back as strings."""
    try:
        document = _parsed(data or "null")
    except (ValueError, RecursionError):
        return Payload(None, None)
    if not isinstance(document, dict):
        return Payload(None, None)
    return Payload(_id(document.get(profile.campaign_key)), _ids(document.get(profile.recipients_key)))


def _parsed(data: str) -> object:
    try:
        return orjson.loads(data)
    except ValueError:  # it refuses what Node writes of a text that was cut through an emoji
        data.encode()  # bytes that were not UTF-8 stand as lone surrogates and match no id
        return json.loads(data)


def _ids(values: object) -> tuple[str, ...] | None:
    if not isinstance(values, list):
        return None
    if set(map(type, values)) <= {str} and "" not in values:
        return tuple(values)  # as nearly all are: a queue may list millions
    whole = tuple(one for one in map(_id, values) if one is not None)
    return whole if len(whole) == len(values) else None


def _id(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


class LiveJobs(Iterator[LiveJob]):
    """The live jobs of some campaigns, page by page, and afterwards the account of the reading.

    Raises:
        QueueUnavailable: The queue could not be read to the end. What came before is no answer.
    """

    def __init__(self, reader: QueueReader, snapshot: Snapshot, campaign_ids: Collection[str]) -> None:
        self._reader = reader
        self._snapshot = snapshot
        self._campaigns = frozenset(campaign_ids)
        self._jobs = self._read()
        self._state: QueueState | None = None
        self._foreign = 0
        self._undecodable = 0
        self._unclear: str | None = None

    def __iter__(self) -> Iterator[LiveJob]:
        return self

    def __next__(self) -> LiveJob:
        return next(self._jobs)

    @property
    def state(self) -> QueueState:
        """The snapshot's state with orphans, undecodable and foreign jobs counted; only after the last job.

        Its ``problem`` says when nobody can know whom the queue covers: then the jobs must not be acted on.
        """
        if self._state is None:
            msg = "the account of a reading exists only when the reading is over"
            raise RuntimeError(msg)
        return self._state

    def _read(self) -> Iterator[LiveJob]:
        gone = yield from self._look(self._snapshot.live)
        orphans: set[str] = set()
        if gone:
            # A job without data has finished since the snapshot, unless it is still listed ...
            live = self._reader.live_ids()
            listed = {job_id: live[job_id] for job_id in gone if job_id in live}
            self._snapshot.finished.update(gone - listed.keys())
            # ... and then somebody may have added its id anew.
            orphans = yield from self._look(listed)
            held = self._reader.locked(job_id for job_id in orphans if listed[job_id] == "active")
            if held:
                self._unclear = f"job {named(min(held))} is in the hands of a worker and has lost its data"
        problems = [self._snapshot.state.problem, self._unclear and f"{self._unclear}: nobody knows whom it covers"]
        self._state = replace(
            self._snapshot.state,
            orphans=len(orphans),
            undecodable=self._undecodable,
            foreign_jobs=self._foreign,
            problem="; ".join(filter(None, problems)) or None,
        )

    def _look(self, live: Mapping[str, str]) -> Generator[LiveJob, None, set[str]]:
        """Yield the jobs of these campaigns among ``live``; return the ids that have no data."""
        profile = self._reader.profile
        gone = set()
        for job_id, (name, data, defa, made) in self._reader.fields(list(live), "name", "data", "defa", "timestamp"):
            if name is None and data is None:
                gone.add(job_id)
                continue
            if name is not None and name != profile.job:
                self._foreign += 1
                continue
            payload = decode(data, profile)
            if payload.campaign_id is None or payload.recipient_ids is None:
                self._undecodable += 1
                if payload.campaign_id is None or payload.campaign_id in self._campaigns:
                    self._unclear = (
                        self._unclear or f"the payload of job {named(job_id)} ({profile.job}) cannot be decoded"
                    )
            elif payload.campaign_id in self._campaigns:
                if defa is not None:
                    self._snapshot.finished.add(job_id)
                else:
                    self._snapshot.covering[job_id] = (payload.campaign_id, made)
                yield LiveJob(job_id, live[job_id], payload.campaign_id, payload.recipient_ids, defa is not None)
        return gone
