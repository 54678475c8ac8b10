"""The state of a platform's queue, or of several queues read as one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


def queue_name(pattern: str, tenant: str) -> str:
    """The queue of a tenant, from a name with ``{tenant}``; empty where the tenant cannot be part of a name."""
    if "{tenant}" not in pattern:
        return pattern
    return pattern.replace("{tenant}", tenant) if tenant and ":" not in tenant else ""


@dataclass(frozen=True, slots=True)
class WorkerClient:
    """A worker's connection to Redis. ``client_id`` is new after every restart or reconnect."""

    client_id: int
    name: str
    address: str
    age_seconds: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """One reading of a queue. ``problem`` says why it must not be acted on; then the counts mean nothing.

    ``away``: it could not be read, and may be back later; else it was read and must not be acted on.
    ``workers`` is None, and ``worker_clients`` empty, where the server does not show its clients. ``server_id``
    changes when Redis restarts or fails over.
    ``job_counter`` counts the jobs ever added; it goes back only when the queue was emptied or old data restored.
    ``unclear_jobs`` counts, by name, the live jobs that may be about a stuck campaign and cannot be understood;
    ``foreign_jobs`` those of other names that have nothing to do with one; ``doomed_jobs`` those of stuck campaigns
    that stalled too often, which newer workers fail and older ones send.

    Where a platform has several queues, ``parts`` holds each of them and the rest is true of all together; ``put_back``
    names the queue that a campaign's batches are put back into, with ``{tenant}`` for its tenant.
    """

    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    paused: bool = False
    workers: int | None = None
    worker_clients: tuple[WorkerClient, ...] = ()
    version: str | None = None
    server_id: str | None = None
    exists: bool = True
    job_counter: int = 0
    orphans: int = 0
    unclear_jobs: Mapping[str, int] = field(default_factory=dict)
    foreign_jobs: int = 0
    doomed_jobs: int = 0
    problem: str | None = None
    away: bool = False
    put_back: str = ""
    parts: tuple[QueueState, ...] = ()

    @property
    def each(self) -> tuple[QueueState, ...]:
        """Each queue."""
        return self.parts or (self,)

    def of(self, tenant: str) -> QueueState | None:
        """The queue that batches of this tenant's campaigns are put back into; None where its name gives none."""
        if not self.parts:
            return self
        name = queue_name(self.put_back, tenant)
        return next((part for part in self.parts if part.name == name), None)

    @property
    def depth(self) -> int:
        """Jobs waiting for a worker: wait + paused + prioritized."""
        return sum(self.counts.get(state, 0) for state in ("wait", "paused", "prioritized"))

    @property
    def live(self) -> int:
        """Jobs that may still be worked on."""
        live_states = ("wait", "paused", "prioritized", "active", "delayed", "waiting-children")
        return sum(self.counts.get(state, 0) for state in live_states)


def together(name: str, put_back: str, parts: Sequence[QueueState]) -> QueueState:
    """One reading of several queues.

    A problem of one is a problem of all: the recipients that its jobs cover are not known. All are paused only if each
    is, and the number of workers is known only where each queue tells it. Where no tenant sends, there are no queues,
    and that is not a problem.

    Args:
        name: Their common name.
        put_back: The name of the queue that batches are put back into, perhaps with ``{tenant}``.
        parts: Their states, of one moment.
    """
    workers = [part.workers for part in parts]
    problems = [f"queue {part.name}: {part.problem}" for part in parts if part.problem]
    counts: Counter[str] = Counter()
    unclear: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
        unclear.update(part.unclear_jobs)
    return QueueState(
        name,
        counts=dict(counts),
        paused=bool(parts) and all(part.paused for part in parts),
        workers=None if None in workers or not parts else sum(number or 0 for number in workers),
        version=next((part.version for part in parts if part.version), None),
        server_id=next((part.server_id for part in parts if part.server_id), None),
        exists=not parts or any(part.exists for part in parts),
        job_counter=sum(part.job_counter for part in parts),
        orphans=sum(part.orphans for part in parts),
        unclear_jobs=dict(unclear),
        foreign_jobs=sum(part.foreign_jobs for part in parts),
        doomed_jobs=sum(part.doomed_jobs for part in parts),
        problem="; ".join(problems) or None,
        away=any(part.away for part in parts),
        put_back=put_back,
        parts=tuple(parts),
    )
