"""Reading a BullMQ queue: its state, atomic snapshots, the jobs in it. Nothing here writes a byte to Redis.

The client's own getters do not serve: `getCounts` pops the markers of BullMQ 4, `getJobCounts` leaves out the `paused`
list, and none of them sees all states at one moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from campaign_ops.bullmq import markers
from campaign_ops.bullmq.address import driver_errors_mapped
from campaign_ops.bullmq.completed_jobs import CompletedJobs
from campaign_ops.bullmq.connection import QueueConnection
from campaign_ops.bullmq.contents import read_contents
from campaign_ops.bullmq.events import Traces, traces_of
from campaign_ops.bullmq.guard import LastLook
from campaign_ops.bullmq.jobs import FailedJob
from campaign_ops.bullmq.live_jobs import LiveJobs, Reading, live_jobs
from campaign_ops.bullmq.newcomers import newcomers
from campaign_ops.bullmq.owner import read_owner
from campaign_ops.bullmq.payload import PayloadReader
from campaign_ops.bullmq.server import ServerFacts
from campaign_ops.bullmq.snapshot import Snapshot
from campaign_ops.bullmq.states import DEAD, LISTS, LIVE, OWN_ID_PREFIX, SORTED_SETS, is_marker, kept_aside, state_by_id
from campaign_ops.bullmq.workers import Clients, connected_workers
from campaign_ops.core.queue_state import QueueState

FAILED_LOOKED_AT = 5_000
COMPLETED_LOOKED_AT = 5_000


class QueueReader(QueueConnection):
    """One queue, for reading.

    Raises:
        QueueUnavailable: From every method, when Redis is away, refuses, or answers in part.
    """

    def state(self) -> QueueState:
        """Count the jobs in each state at one moment. Cheap, however long the queue is."""
        answers, about = self.multi(self.ask_counts)
        return self.counted(answers, about)

    def ask_counts(self, pipe: Any) -> None:
        """Add to a pipeline the questions that `counted` takes the answers of."""
        for state in LISTS:
            pipe.llen(self.key(state))
        for state in SORTED_SETS:
            pipe.zcard(self.key(state))
        pipe.lindex(self.key("wait"), -1)
        pipe.lindex(self.key("paused"), -1)

    def counted(self, answers: Sequence[Any], about: tuple[Any, ...], clients: Clients | None = None) -> QueueState:
        """Return the queue's state from the answers to `ask_counts`."""
        *numbers, wait_end, paused_end = answers
        counts = dict(zip(LIVE, numbers, strict=True))
        for state, end in (("wait", wait_end), ("paused", paused_end)):
            counts[state] -= bool(end and is_marker(end))
        return self._describe(counts, about, clients)

    def snapshot(self) -> Snapshot:
        """Read the ids of every live job, and of the newest failed ones, at one moment."""
        answers, about = self.multi(self.ask_ids)
        return self.taken(answers, about)

    def ask_ids(self, pipe: Any) -> None:
        """Add to a pipeline the questions that `taken` takes the answers of."""
        self.ask_live_ids(pipe)
        pipe.zrange(self.key("failed"), 0, FAILED_LOOKED_AT - 1, desc=True)

    def taken(self, answers: Sequence[Any], about: tuple[Any, ...], clients: Clients | None = None) -> Snapshot:
        """Return the snapshot from the answers to `ask_ids`."""
        *ids, failed = answers
        live = state_by_id(ids)
        counts = dict.fromkeys(LIVE, 0)
        for state in live.values():
            counts[state] += 1
        return Snapshot(self._describe(counts, about, clients), live, tuple(failed))

    def last_look(self) -> LastLook:
        """Look at the queue for the last time before an add: the guard takes what appears later for new."""
        clock = self.unless_refused("TIME", default=None)
        events = self.unless_refused("XREVRANGE", self.key("events"), "+", "-", "COUNT", "1", default=None)
        event = None if events is None else (events[0][0] if events else "0-0")
        return LastLook(self.live_ids(), clock and clock[0] + clock[1] / 1_000_000, event)

    def live_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> LiveJobs:
        """Read, page by page, the jobs of these campaigns that were live at the snapshot; then see ``.result``."""
        return live_jobs(self, snapshot, campaign_ids)

    def failed_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> Iterator[FailedJob]:
        """Read, page by page, the newest failed jobs of these campaigns. They cover no recipients; they explain why."""
        payloads = PayloadReader(self.profile, self.ids, campaign_ids)
        for job in read_contents(self, payloads, snapshot.failed):
            if job.content is not None and job.content.campaign_id is not None:
                yield FailedJob(job.id, job.content.campaign_id, job.content.recipient_ids)

    def completed_jobs(self, snapshot: Snapshot) -> CompletedJobs:
        """Read the newest completed jobs of the queues of this snapshot, each once."""
        return CompletedJobs(self, lambda: self.completed_ids(snapshot))

    def completed_ids(self, _snapshot: Snapshot) -> Sequence[str]:
        """Read the ids of the newest completed jobs that are kept now."""
        with driver_errors_mapped(self.where):
            newest: Any = self._client.zrange(self.key("completed"), 0, COMPLETED_LOOKED_AT - 1, desc=True)
        return list(newest)

    def newcomers(
        self,
        reading: Reading,
        campaign_ids: Collection[str],
        *,
        ours: Collection[str] = frozenset(),
        look: LastLook | None = None,
    ) -> frozenset[str]:
        """Return the campaigns that have a live job now which the reading did not know and which is not ``ours``.

        A campaign that such a job may be about without saying so clearly is included. A job is recognised by its id and
        the time it was made. A new job that came and went counts for no campaign: whatever it did is in the rows, which
        must be read after this. What is live is asked now, or taken from the ``look``.

        Raises:
            QueueUnclear: A new job cannot be understood, or is listed without its data: it may belong to any campaign.
        """
        return newcomers(self, reading, campaign_ids, ours=ours, look=look)

    def marked(self, recipient_ids: Sequence[str]) -> frozenset[str]:
        """Return the recipients with a marker key, which says that the provider may have their message."""
        return markers.marked(self, recipient_ids)

    def none_marked(self, recipients: int) -> bool:
        """Return whether no recipient at all has a marker, where that is cheaper to know than of so many each."""
        return markers.none_marked(self, recipients)

    def traces(self, job_ids: Collection[str]) -> Traces:
        """Search the queue's events for jobs that are gone."""
        return traces_of(self._client, self.key("events"), job_ids, self.where)

    def newest(self, limit: int) -> dict[str, list[str]]:
        """Read the ids of the newest jobs of every state, dead ones included, of at most ``limit``; ours left out."""
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=False) as pipe:
            for state in LISTS:
                pipe.lrange(self.key(state), 0, limit - 1)
            for state in SORTED_SETS + DEAD:
                pipe.zrange(self.key(state), 0, limit - 1, desc=True)
            answers = pipe.execute()
        return {
            state: [job_id for job_id in ids if not (is_marker(job_id) or job_id.startswith(OWN_ID_PREFIX))]
            for state, ids in zip(LIVE + DEAD, answers, strict=True)
        }

    def count_aside(self, limit: int) -> int:
        """Count the jobs that BullMQ keeps aside for the newest live jobs of every state, of at most ``limit``."""
        live = [job_id for state, ids in self.newest(limit).items() if state in LIVE for job_id in ids]
        names = {kept_aside(name) for _, (name,) in self.fields(live, "deid") if name is not None}
        return len(self.present(names))

    def refused(self) -> list[str]:
        """Return the commands that this user may not run; without them a sweep goes on and knows less."""
        newest_event = ["XREVRANGE", self.key("events"), "+", "-", "COUNT", "1"]
        asked = [["INFO", "server"], ["TIME"], newest_event, ["CLIENT LIST"]]
        return [words[0] for words in asked if self.unless_refused(*words, default=None) is None]

    def live_elsewhere(self, queue: str) -> int:
        """Count the live jobs of another queue, ``prefix:name``, on the same Redis."""
        prefix, _, name = queue.rpartition(":")
        address, profile = replace(self.address, prefix=prefix), self.profile.model_copy(update={"name": name})
        return QueueReader(address, profile).state().live

    def server(self) -> ServerFacts:
        """Ask the server about itself."""
        _, (*_, info) = self.multi(lambda _pipe: None)
        policy = info.get("maxmemory_policy")
        if policy is None:
            policy = self.unless_refused("CONFIG GET", "maxmemory-policy", default={}).get("maxmemory-policy")
        return ServerFacts(info.get("redis_version"), info.get("role"), policy, info.get("run_id"))

    def mind(self, tenants: Iterable[str]) -> None:
        """Read these tenants' queues too. Nothing to do: one queue serves all tenants."""

    def clients(self) -> Clients:
        """Read the clients connected to the server; empty where it refuses the command."""
        connected: Clients = self.unless_refused("CLIENT LIST", default=[])
        return connected

    def _describe(self, counts: dict[str, int], about: tuple[Any, ...], clients: Clients | None) -> QueueState:
        failed, completed, *about_owner, info = about
        owner = read_owner(about_owner)
        database = int(self._client.connection_pool.connection_kwargs.get("db") or 0)
        everyone = self.clients() if clients is None else clients
        workers = connected_workers(everyone, self.address.prefix, self.profile.name, database)
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
