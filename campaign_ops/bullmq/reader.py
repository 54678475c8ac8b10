"""Reading a BullMQ queue: its state, atomic snapshots, the jobs in it. Nothing here writes a byte to Redis.

The client's own getters would not do: `getCounts` pops the markers of BullMQ 4, `getJobCounts` leaves the `paused`
list out, and none of them sees all states at one moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import redis
from redis import exceptions as driver

from campaign_ops.bullmq import library
from campaign_ops.bullmq.address import QueueAddress, driver_errors_mapped
from campaign_ops.bullmq.events import Traces, traces_of
from campaign_ops.bullmq.guard import LastLook
from campaign_ops.bullmq.jobs import CompletedJob, FailedJob, LiveJobs, Snapshot
from campaign_ops.bullmq.payload import PayloadReader, named
from campaign_ops.bullmq.workers import Clients, connected_workers
from campaign_ops.core.errors import QueueUnclear
from campaign_ops.core.ids import JobIds
from campaign_ops.core.model import QueueState, WorkerClient
from campaign_ops.profile.model import QueueProfile

LISTS = ("wait", "paused", "active")
SORTED_SETS = ("prioritized", "delayed", "waiting-children")
LIVE = LISTS + SORTED_SETS
DEAD = ("failed", "completed")
FAILED_LOOKED_AT = 5_000
COMPLETED_LOOKED_AT = 5_000
JOBS_PER_PAGE = 200
KEYS_PER_PAGE = 500
RECIPIENTS_PER_TRIP = 2_000

T = TypeVar("T")

# BullMQ 4 wakes its workers by `0:1712345678` in `wait`. Ids of schedulers hold colons too, and they are jobs.
_MARKER = re.compile(r"0:\d+")


@dataclass(frozen=True)
class ServerFacts:
    """What a Redis server says of itself; None where it does not say. ``server_id`` changes when it restarts."""

    redis_version: str | None
    role: str | None
    eviction_policy: str | None
    server_id: str | None


class Facts(Protocol):
    """What a platform's database says about its queue. Asked when it is needed, so no read has to come first."""

    def job_ids(self) -> JobIds:
        """How its jobs' ids are compared with the database's, and written."""

    def sending_tenants(self) -> Collection[str]:
        """The tenants with a campaign that is being sent: the queues to read where a name holds ``{tenant}``."""


@dataclass(frozen=True)
class FixedFacts:
    """The facts of a queue without a database."""

    ids: JobIds = field(default_factory=JobIds)

    def job_ids(self) -> JobIds:
        """See `Facts`."""
        return self.ids

    def sending_tenants(self) -> Collection[str]:
        """See `Facts`."""
        return ()


class QueueReader:
    """Reads one queue. Connects on first use. A platform sets ``facts`` to itself when it takes the queue.

    Raises:
        QueueUnavailable: From every method, when Redis is away, refuses, or answers in part.
    """

    def __init__(self, address: QueueAddress, profile: QueueProfile, client: redis.Redis | None = None) -> None:
        self.address = address
        self.profile = profile
        self.facts: Facts = FixedFacts()
        self.name = profile.name
        self.where = f"Redis {address.endpoint}, queue {address.prefix}:{profile.name}"
        self._client = client or address.reading_client()
        self._may_ask_info = True

    @property
    def ids(self) -> JobIds:
        """How its jobs' ids are compared with the database's, and written."""
        return self.facts.job_ids()

    def key(self, part: str) -> str:
        """Name the key of a state, or of the job with this id."""
        return f"{self.address.prefix}:{self.profile.name}:{part}"

    def state(self) -> QueueState:
        """Count the queue's states at one moment. Cheap, however long the queue is."""

        answers, about = self._multi(self.ask_counts)
        return self.counted(answers, about)

    def ask_counts(self, pipe: Any) -> None:
        """Ask how many jobs are in each live state; `counted` takes the answers."""
        for state in LISTS:
            pipe.llen(self.key(state))
        for state in SORTED_SETS:
            pipe.zcard(self.key(state))
        pipe.lindex(self.key("wait"), -1)
        pipe.lindex(self.key("paused"), -1)

    def counted(self, answers: Sequence[Any], about: tuple[Any, ...], clients: Clients | None = None) -> QueueState:
        """The queue's state from the answers to `ask_counts`."""
        *numbers, wait_end, paused_end = answers
        counts = dict(zip(LIVE, numbers, strict=True))
        for state, end in (("wait", wait_end), ("paused", paused_end)):
            counts[state] -= bool(end and _MARKER.fullmatch(end))
        return self._describe(counts, about, clients)

    def snapshot(self) -> Snapshot:
        """Read the ids of every live job, and of the newest failed ones, at one moment."""

        answers, about = self._multi(self.ask_ids)
        return self.taken(answers, about)

    def ask_ids(self, pipe: Any) -> None:
        """Ask for the ids of every live job and of the newest failed ones; `taken` takes the answers."""
        self.ask_live_ids(pipe)
        pipe.zrange(self.key("failed"), 0, FAILED_LOOKED_AT - 1, desc=True)

    def taken(self, answers: Sequence[Any], about: tuple[Any, ...], clients: Clients | None = None) -> Snapshot:
        """The snapshot from the answers to `ask_ids`."""
        *ids, failed = answers
        live = self.by_id(ids)
        counts = dict.fromkeys(LIVE, 0)
        for state in live.values():
            counts[state] += 1
        return Snapshot(self._describe(counts, about, clients), live, tuple(failed))

    def live_ids(self) -> Mapping[str, str]:
        """Read the ids of every live job and the state of each, at one moment."""
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=True) as pipe:
            self.ask_live_ids(pipe)
            return self.by_id(pipe.execute())

    def last_look(self) -> LastLook:
        """Look at the queue for the last time before an add: what appears after this is new to the add's guard."""
        clock = self._unless_refused("TIME", default=None)
        events = self._unless_refused("XREVRANGE", self.key("events"), "+", "-", "COUNT", "1", default=None)
        event = None if events is None else (events[0][0] if events else "0-0")
        return LastLook(self.live_ids(), clock and clock[0] + clock[1] / 1_000_000, event)

    def live_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> LiveJobs:
        """Read, page by page, the jobs of these campaigns that were live at the snapshot; then see ``.state``."""
        return LiveJobs(self, snapshot, campaign_ids)

    def failed_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> Iterator[FailedJob]:
        """Read, page by page, the newest failed jobs of these campaigns. They cover nobody; they say why."""
        payloads = PayloadReader(self.profile, self.ids, campaign_ids)
        for job_id, (name, data) in self.fields(snapshot.failed, "name", "data"):
            said = payloads.read(name, data)
            if said.campaign_id is not None:
                yield FailedJob(job_id, said.campaign_id, said.recipient_ids)

    def completed_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> Iterator[CompletedJob]:
        """Read, page by page, the newest completed jobs of these campaigns that were not read for this snapshot before.

        To be read after the rows: a worker said of each that it has done the batch.
        """
        payloads = PayloadReader(self.profile, self.ids, campaign_ids)
        with driver_errors_mapped(self.where):
            newest: Any = self._client.zrange(self.key("completed"), 0, COMPLETED_LOOKED_AT - 1, desc=True)
        new = [job_id for job_id in newest if job_id not in snapshot.completed]
        for job_id, (name, data) in self.fields(new, "name", "data"):
            said = payloads.read(name, data)
            if said.campaign_id is not None:
                yield CompletedJob(job_id, said.campaign_id, said.recipient_ids)
        snapshot.completed.update(new)

    def newcomers(
        self,
        snapshot: Snapshot,
        campaign_ids: Collection[str],
        *,
        ours: Collection[str] = frozenset(),
        look: LastLook | None = None,
    ) -> frozenset[str]:
        """Name those of these campaigns that have a live job now which was not in the snapshot and is not ``ours``.

        Those are among them that such a job may be about without saying so clearly. A job is known again by its id and
        the time it was made. A new job that came and went is nobody's: whatever it did stands in the rows, which must
        be read after this. What is live is asked now, or taken from the ``look``.

        Raises:
            QueueUnclear: A new job cannot be understood, or is listed without its data: it may be anybody's.
        """
        wanted = frozenset(campaign_ids)
        payloads = PayloadReader(self.profile, self.ids, wanted)
        live = self.live_ids() if look is None else look.live
        covering = {job_id: one for job_id, one in snapshot.covering.items() if one[0] in wanted and job_id in live}
        found = {
            covering[job_id][0]
            for job_id, (made,) in self.fields(list(covering), "timestamp")
            if made != covering[job_id][1]
        }
        known = (snapshot.live.keys() - snapshot.finished) | frozenset(ours)
        new = [job_id for job_id in live if job_id not in known]
        gone = set()
        for job_id, (name, data) in self.fields(new, "name", "data"):
            if name is None and data is None:
                gone.add(job_id)
                continue
            said = payloads.read(name, data)
            if said.doubt is payloads.wanted.everybody:
                raise self._unclear(job_id)
            found |= said.doubt
            if said.campaign_id is not None:
                found.add(said.campaign_id)
        if still_listed := gone and gone & self.live_ids().keys():
            raise self._unclear(min(still_listed))
        return frozenset(found)

    def _unclear(self, job_id: str) -> QueueUnclear:
        what = f"job {named(job_id)} appeared meanwhile and cannot be understood, so it may cover anybody"
        return QueueUnclear(what, where=self.where, mend="the next sweep looks again")

    def marked(self, recipient_ids: Sequence[str]) -> frozenset[str]:
        """Name the recipients for whom a marker key says that the provider may have their message."""
        if not self.profile.markers:
            return frozenset()
        found: set[str] = set()
        size = max(1, KEYS_PER_PAGE // len(self.profile.markers))
        for recipients in pages(recipient_ids, RECIPIENTS_PER_TRIP):
            # Nearly always 0: one question for many recipients, and one for each only where it is not.
            groups = list(pages(recipients, size))
            totals = self._each("exists", map(self._markers_of, groups))
            asked = [one for group, total in zip(groups, totals, strict=True) if total for one in group]
            numbers = self._each("exists", [self._markers_of([one]) for one in asked])
            found.update(one for one, number in zip(asked, numbers, strict=True) if number)
        return frozenset(found)

    def _markers_of(self, recipient_ids: Sequence[str]) -> list[str]:
        """Every marker key of these recipients."""
        keys = []
        for marker in self.profile.markers:
            around = marker.split("{recipient_id}")
            keys += [one.join(around) for one in recipient_ids]
        return keys

    def traces(self, job_ids: Collection[str]) -> Traces:
        """Look for jobs that are gone in the queue's events."""
        return traces_of(self._client, self.key("events"), job_ids, self.where)

    def present(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Name the ids under which a job exists now, in whatever state."""
        return self._existing(job_ids, "")

    def locked(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Name the ids that a worker holds the lock of now."""
        return self._existing(job_ids, ":lock")

    def newest(self, limit: int) -> dict[str, list[str]]:
        """Ids of the newest jobs of every state, dead ones included, at most ``limit`` of each."""
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=False) as pipe:
            for state in LISTS:
                pipe.lrange(self.key(state), 0, limit - 1)
            for state in SORTED_SETS + DEAD:
                pipe.zrange(self.key(state), 0, limit - 1, desc=True)
            answers = pipe.execute()
        return {
            state: [one for one in ids if not _MARKER.fullmatch(one)]
            for state, ids in zip(LIVE + DEAD, answers, strict=True)
        }

    def refused(self) -> list[str]:
        """Questions that this user may not ask, and without which a sweep goes on knowing less."""
        newest_event = ["XREVRANGE", self.key("events"), "+", "-", "COUNT", "1"]
        asked = [["INFO", "server"], ["TIME"], newest_event, ["CLIENT LIST"]]
        return [words[0] for words in asked if self._unless_refused(*words, default=None) is None]

    def live_elsewhere(self, queue: str) -> int:
        """Count the live jobs of another queue, ``prefix:name``, on the same Redis."""
        prefix, _, name = queue.rpartition(":")
        address, profile = replace(self.address, prefix=prefix), self.profile.model_copy(update={"name": name})
        return QueueReader(address, profile).state().live

    def server(self) -> ServerFacts:
        """Ask the server about itself."""
        _, (*_, info) = self._multi(lambda _pipe: None)
        policy = info.get("maxmemory_policy")
        if policy is None:
            policy = self._unless_refused("CONFIG GET", "maxmemory-policy", default={}).get("maxmemory-policy")
        return ServerFacts(info.get("redis_version"), info.get("role"), policy, info.get("run_id"))

    def fields(self, job_ids: Sequence[str], *names: str) -> Iterator[tuple[str, list[str | None]]]:
        """Read fields of many jobs, page by page: (id, values); all None where there is no such job."""
        for page in pages(job_ids, JOBS_PER_PAGE):
            rows = self._each("hmget", [[self._job_key(job_id), *names] for job_id in page])
            yield from zip(page, rows, strict=True)

    def _job_key(self, job_id: str) -> str | bytes:
        """The key of a job, whose id may be any bytes: they stand as lone surrogates in ours."""
        key = self.key(job_id)
        return key if key.isascii() else key.encode(errors="surrogateescape")

    def _existing(self, job_ids: Iterable[str], suffix: str) -> frozenset[str]:
        found: set[str] = set()
        for page in pages(list(job_ids), KEYS_PER_PAGE):
            numbers = self._each("exists", [[self._job_key(job_id + suffix)] for job_id in page])
            found.update(job_id for job_id, number in zip(page, numbers, strict=True) if number)
        return frozenset(found)

    def _each(self, command: str, calls: Iterable[Sequence[str | bytes]]) -> list[Any]:
        """Send one command many times in one round trip."""
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=False) as pipe:
            for arguments in calls:
                getattr(pipe, command)(*arguments)
            return pipe.execute()

    def mind(self, tenants: Iterable[str]) -> None:
        """Look at these tenants' queues, too: one queue is everybody's."""

    def ask_live_ids(self, pipe: Any) -> None:
        """Ask for the ids of every live job; `by_id` takes the answers."""
        for state in LISTS:
            pipe.lrange(self.key(state), 0, -1)
        for state in SORTED_SETS:
            pipe.zrange(self.key(state), 0, -1)

    def by_id(self, ids: Sequence[Sequence[str]]) -> dict[str, str]:
        """Every live job with the state that it stands in."""
        return {
            job_id: state
            for state, of_state in zip(LIVE, ids, strict=True)
            for job_id in of_state
            if not (job_id.startswith("0:") and _MARKER.fullmatch(job_id))
        }

    def _multi(self, fill: Callable[[Any], None]) -> tuple[list[Any], tuple[Any, ...]]:
        """Run what ``fill`` asks and what is asked about every queue in one MULTI/EXEC; return both answers."""
        with driver_errors_mapped(self.where):
            try:
                return self._transact(fill, with_info=self._may_ask_info)
            except driver.ResponseError as error:
                # Some users may not run INFO; then nobody tells us the role and the run.
                if not (self._may_ask_info and "info" in str(error).lower()):
                    raise
                answer = self._transact(fill, with_info=False)
                self._may_ask_info = False
                return answer

    def _transact(self, fill: Callable[[Any], None], *, with_info: bool) -> tuple[list[Any], tuple[Any, ...]]:
        with self._client.pipeline(transaction=True) as pipe:
            fill(pipe)
            asked = len(pipe)
            self.ask_about(pipe)
            if with_info:
                pipe.info()
            answers = pipe.execute()
        return answers[:asked], (*answers[asked:], *([] if with_info else [{}]))

    def ask_about(self, pipe: Any) -> None:
        """Ask what `_describe` wants to know of a queue besides its live jobs."""
        for state in DEAD:
            pipe.zcard(self.key(state))
        library.ask(pipe, self.key)

    def _describe(self, counts: dict[str, int], about: tuple[Any, ...], clients: Clients | None) -> QueueState:
        failed, completed, *about_owner, info = about
        owner = library.owner(about_owner)
        workers = self._workers(self.clients() if clients is None else clients)
        return QueueState(
            name=self.profile.name,
            counts=counts | {"failed": failed, "completed": completed},
            paused=owner.paused,
            workers=None if workers is None else len(workers),
            worker_clients=workers or (),
            version=owner.version,
            server_id=info.get("run_id"),
            exists=owner.exists,
            job_counter=owner.jobs_added,
            problem=owner.problem(info.get("role")),
        )

    def clients(self) -> Clients:
        """Everybody who is connected to the server; empty when it does not tell."""
        connected: Clients = self._unless_refused("CLIENT LIST", default=[])
        return connected

    def _workers(self, clients: Clients) -> tuple[WorkerClient, ...] | None:
        database = int(self._client.connection_pool.connection_kwargs.get("db") or 0)
        return connected_workers(clients, self.address.prefix, self.profile.name, database)

    def _unless_refused(self, command: str, *arguments: str, default: Any) -> Any:
        """Run a command that many hosts do not allow; ``default`` where they refuse."""
        with driver_errors_mapped(self.where):
            try:
                execute: Any = self._client.execute_command  # untyped in the driver
                return execute(command, *arguments)
            except driver.ResponseError:
                return default


def pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut ``items`` into runs of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
