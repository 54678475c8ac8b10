"""Several queues of one platform, read at one moment and answered for as one.

They share a Redis and a prefix, so that one MULTI sees all of them. Ids of their jobs begin with the queue's name,
``sms-retry:17``, since each queue counts its own; ids of our own jobs are unique and do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from campaign_ops.bullmq.address import QueueAddress, driver_errors_mapped
from campaign_ops.bullmq.events import Traces
from campaign_ops.bullmq.guard import Guard, LastLook, NothingAdded, OtherQueue, PartlyAdded
from campaign_ops.bullmq.jobs import FailedJob, LiveJob
from campaign_ops.bullmq.live_jobs import LiveJobs, Reading
from campaign_ops.bullmq.queue import Queue
from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.bullmq.snapshot import Snapshot
from campaign_ops.bullmq.states import state_by_id
from campaign_ops.bullmq.writer import NewJob
from campaign_ops.core.errors import QueueUnclear, Refused
from campaign_ops.core.queue_state import QueueState, queue_name, together
from campaign_ops.profile.queue import QueueProfile

MAX_QUEUES = 2_000  # one MULTI over so many keeps Redis busy for about 50 ms


def open_queue(address: QueueAddress, profile: QueueProfile) -> Queue:
    """Make the queue of a profile, or the group of its queues."""
    return QueueGroup(address, profile) if profile.several else Queue(address, profile)


class QueueGroup(Queue):
    """The queues of one platform as one.

    Raises:
        QueueUnavailable: From every method, as with a single queue: where one cannot be read, none is answered for.
    """

    def __init__(self, address: QueueAddress, profile: QueueProfile) -> None:
        super().__init__(address, profile)
        self.name = ", ".join([profile.name, *profile.also])
        keys = ", ".join(f"{address.prefix}:{pattern}" for pattern in self._patterns)
        self.where = f"Redis {address.endpoint}, queues {keys}"
        self._minded: set[str] = set()
        self._members: dict[str, Queue] = {}

    @property
    def _patterns(self) -> tuple[str, ...]:
        return (self.profile.name, *self.profile.also)

    def mind(self, tenants: Iterable[str]) -> None:
        """Read these tenants' queues too, although none of their campaigns may be sending now."""
        self._minded.update(tenants)

    def members(self) -> list[Queue]:
        """Return every queue there is now.

        Raises:
            QueueUnclear: There are more than can be read at one moment.
        """
        return self._members_of(self._patterns)

    def _members_of(self, patterns: Sequence[str]) -> list[Queue]:
        by_tenant = any("{tenant}" in pattern for pattern in patterns)
        tenants = sorted({*self.facts.sending_tenants(), *self._minded}) if by_tenant else [""]
        names = dict.fromkeys(queue_name(pattern, tenant) for pattern in patterns for tenant in tenants)
        names.pop("", None)
        if len(names) > MAX_QUEUES:
            what = f"{len(names):,} tenants' queues are more than can be read at one moment ({MAX_QUEUES:,})"
            raise QueueUnclear(what, where=self.where)
        return [self._member(name) for name in names]

    def _member(self, name: str) -> Queue:
        if name not in self._members:
            profile = self.profile.model_copy(update={"name": name, "also": ()})
            self._members[name] = Queue(self.address, profile, client=self._client)
        member = self._members[name]
        member.facts = self.facts
        return member

    # -- reading -----------------------------------------------------------------------------------------------

    def state(self) -> QueueState:
        """Count the states of all queues at one moment."""
        answers = self._at_one_moment(QueueReader.ask_counts)
        clients = self.clients()
        return self._together([queue.counted(*of_queue, clients) for queue, of_queue in answers])

    def snapshot(self) -> Snapshot:
        """Read the ids of every live job of all queues, and of the newest failed ones, at one moment."""
        answers = self._at_one_moment(QueueReader.ask_ids)
        clients = self.clients()
        parts = {queue.name: queue.taken(*of_queue, clients) for queue, of_queue in answers}
        live = {job_id: state for part in parts.values() for job_id, state in part.live.items()}
        return Snapshot(self._together([part.state for part in parts.values()]), live, parts=parts)

    def live_ids(self) -> Mapping[str, str]:
        """Read the id and the state of every live job of all queues at one moment."""
        by_queue = self._live_ids_of(self.members())
        return {_joined(name, job_id): state for name, live in by_queue.items() for job_id, state in live.items()}

    def last_look(self) -> LastLook:
        """Look at all queues for the last time before an add."""
        members = self.members()
        clock = self.unless_refused("TIME", default=None)
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=False) as pipe:
            for queue in members:
                pipe.xrevrange(queue.key("events"), count=1)
            newest = pipe.execute(raise_on_error=False)
        live = self._live_ids_of(members)
        parts = {
            queue.name: LastLook(live[queue.name], event=_event(events))
            for queue, events in zip(members, newest, strict=True)
        }
        return LastLook({}, clock and clock[0] + clock[1] / 1_000_000, parts=parts)

    def live_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> LiveJobs:
        """Read the jobs of these campaigns that were live at the snapshot, queue by queue; then see ``.result``."""
        return LiveJobs(snapshot, self._read_live_jobs(snapshot, campaign_ids))

    def _read_live_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> Generator[LiveJob, None, Reading]:
        parts: dict[str, Reading] = {}
        for name, part in snapshot.parts.items():
            jobs = self._member(name).live_jobs(part, campaign_ids)
            for job in jobs:
                yield replace(job, id=_joined(name, job.id), queue=name)
            parts[name] = jobs.result
        unclear: dict[str, Counter[str]] = {}
        for campaign_id, names in chain.from_iterable(part.unclear.items() for part in parts.values()):
            unclear.setdefault(campaign_id, Counter()).update(names)
        return Reading(
            snapshot,
            self._together([part.state for part in parts.values()]),
            unclear,
            dated={_joined(name, job_id): job for name, part in parts.items() for job_id, job in part.dated.items()},
            parts=parts,
        )

    def failed_jobs(self, snapshot: Snapshot, campaign_ids: Collection[str]) -> Iterator[FailedJob]:
        """Read the newest failed jobs of these campaigns in all queues."""
        for name, part in snapshot.parts.items():
            for job in self._member(name).failed_jobs(part, campaign_ids):
                yield replace(job, id=_joined(name, job.id))

    def completed_ids(self, snapshot: Snapshot) -> Sequence[str]:
        """Read the ids of the newest completed jobs in each queue of the snapshot."""
        return [
            _joined(name, job_id)
            for name, part in snapshot.parts.items()
            for job_id in self._member(name).completed_ids(part)
        ]

    def newcomers(
        self,
        reading: Reading,
        campaign_ids: Collection[str],
        *,
        ours: Collection[str] = frozenset(),
        look: LastLook | None = None,
    ) -> frozenset[str]:
        """Return the campaigns that have a new live job in any queue."""
        looks = look.parts if look is not None else {}
        unread = Reading(
            Snapshot(QueueState(self.name), {}), QueueState(self.name)
        )  # in a queue that came since, every job is new
        new = [
            self._member(name).newcomers(reading.parts.get(name, unread), campaign_ids, ours=ours, look=looks.get(name))
            for name in dict.fromkeys([*reading.parts, *looks])
        ]
        return frozenset(chain.from_iterable(new))

    def newest(self, limit: int) -> dict[str, list[str]]:
        """Read the ids of the newest jobs of every state in all queues, of at most ``limit``; ours left out."""
        by_state: dict[str, list[str]] = {}
        for queue in self.members():
            for state, ids in queue.newest(limit).items():
                by_state.setdefault(state, []).extend(_joined(queue.name, job_id) for job_id in ids)
        return by_state

    def count_aside(self, limit: int) -> int:
        """Count the jobs that are kept aside in all queues; see `QueueReader.count_aside`."""
        return sum(queue.count_aside(limit) for queue in self.members())

    def present(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Return those of our own jobs that exist in any queue."""
        wanted = list(job_ids)
        return frozenset().union(*(queue.present(wanted) for queue in self.members()))

    def traces(self, job_ids: Collection[str]) -> Traces:
        """Search the events of the queues that batches are put back into for jobs of our own that are gone."""
        parts = [queue.traces(job_ids) for queue in self._members_of([self.profile.name])]
        since = [part.complete_since for part in parts]
        return Traces(
            frozenset().union(*(part.added for part in parts)),
            frozenset().union(*(part.removed for part in parts)),
            None if None in since or not since else max(filter(None, since)),
        )

    def refused(self) -> list[str]:
        """Return the commands that this user may not run."""
        members = self.members()
        return members[0].refused() if members else []

    def ask_about(self, pipe: Any) -> None:
        """Ask nothing about the group: each queue is asked about itself."""

    # -- writing -----------------------------------------------------------------------------------------------

    def add(self, jobs: Sequence[NewJob], guard: Guard | None = None) -> frozenset[str]:
        """Add each job to its tenant's queue, at one moment for each queue; the guard looks at all of them."""
        self.mind(job.tenant for job in jobs)
        by_queue: dict[str, list[NewJob]] = {}
        for job in jobs:
            by_queue.setdefault(queue_name(self.profile.name, job.tenant), []).append(job)
        if "" in by_queue:
            raise Refused(f"a tenant names no queue ({self.profile.name})", where=self.where)
        added: set[str] = set()
        for name, batch in by_queue.items():
            try:
                added |= self._member(name).add(batch, guard and self._guard_of(name, guard))
            except PartlyAdded as error:
                raise PartlyAdded(error.added | added, error) from error
            except NothingAdded as error:
                if not added:
                    raise
                raise PartlyAdded(frozenset(added), error) from error
            except Refused:
                if not added:
                    raise
                break  # the next sweep sees what was added and goes on
        return frozenset(added)

    def remove_waiting(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Remove those of our own jobs that no worker has ever taken, in whichever queue."""
        rest = set(job_ids)
        removed: set[str] = set()
        for queue in self.members():
            removed |= queue.remove_waiting(sorted(queue.present(rest - removed)))
        return frozenset(removed)

    def close(self) -> None:
        """Close all connections."""
        for queue in self._members.values():
            queue.close()
        super().close()

    # -- parts -------------------------------------------------------------------------------------------------

    def _guard_of(self, name: str, guard: Guard) -> Guard:
        """Return what must hold when jobs are added to one queue: nothing new in it, nor in the others."""
        dated: dict[str, dict[str, tuple[str | None, str | None]]] = {}
        for joined, job in guard.dated.items():
            queue, _, job_id = joined.partition(":")
            dated.setdefault(queue, {})[job_id] = job
        others = tuple(
            OtherQueue(self._member(other).key(""), look, dated.get(other, {}))
            for other, look in guard.look.parts.items()
            if other != name
        )
        look = replace(guard.look.parts.get(name, LastLook({})), at=guard.look.at)
        return replace(guard, look=look, dated=dated.get(name, {}), others=others)

    def _together(self, states: Sequence[QueueState]) -> QueueState:
        return together(self.name, self.profile.name, states)

    def _at_one_moment(
        self, ask: Callable[[QueueReader, Any], None]
    ) -> list[tuple[Queue, tuple[list[Any], tuple[Any, ...]]]]:
        """Ask every queue the same in one MULTI; return each with its answers and those to `ask_about`."""
        members = self.members()
        ends: list[tuple[int, int]] = []

        def fill(pipe: Any) -> None:
            ends.clear()
            for queue in members:
                ask(queue, pipe)
                asked = len(pipe)
                queue.ask_about(pipe)
                ends.append((asked, len(pipe)))

        answers, (info,) = self.multi(fill)
        starts = [0, *(end for _, end in ends)]
        return [
            (queue, (answers[start:asked], (*answers[asked:end], info)))
            for queue, start, (asked, end) in zip(members, starts, ends, strict=False)
        ]

    def _live_ids_of(self, members: Sequence[Queue]) -> dict[str, Mapping[str, str]]:
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=True) as pipe:
            ends = []
            for queue in members:
                queue.ask_live_ids(pipe)
                ends.append(len(pipe))
            answers = pipe.execute()
        starts = [0, *ends]
        return {
            queue.name: state_by_id(answers[start:end])
            for queue, start, end in zip(members, starts, ends, strict=False)
        }

    def job_key(self, job_id: str) -> str | bytes:
        """Return the key of a job by its joined id."""
        name, _, own = job_id.partition(":")
        return self._member(name).job_key(own)


def _event(newest: Any) -> str | None:
    """Return the id of the newest event; None where the server refused the command."""
    if isinstance(newest, Exception):
        return None
    return str(newest[0][0]) if newest else "0-0"


def _joined(queue: str, job_id: str) -> str:
    return f"{queue}:{job_id}"
