"""Faults of the application's workers. A worker that obeys the worker contract never sends twice because of them."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from campaign_ops.lab.drill.faults.base import Fault, NotYet
from campaign_ops.lab.drill.workload import Workload
from campaign_ops.watch.symptoms import RESTARTS_AN_HOUR

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig
    from campaign_ops.lab.shop.worker_process import WorkerProcess

_PLACES = {
    "before_send": "between the claim and the send",
    "after_send": "between the send and the write",
    "after_write": "right after a write",
}
_CRASHES = RESTARTS_AN_HOUR + 1
_CRASHING_SECONDS = 15.0


class KillWorker(Fault):
    """A worker kills itself (SIGKILL) at one point of its work; its job stays active until found stalled."""

    place: ClassVar[str]
    duration_seconds = (6.0, 10.0)

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Start a worker that will die at that point, and a campaign for it to work on."""
        workload, after = Workload(rig), rng.randint(2, 12)
        workload.start(workload.label(self.name, rng), rng.randint(80, 160), rng.choice(workload.tenants))
        self.worker = rig.start_worker(die_at=self.place, die_after=after)
        return f"{self.worker.name} will be killed (kill -9) {_PLACES[self.place]} of its recipient {after}"

    def end(self, rig: Rig) -> None:
        """Kill it now if it did not reach that point."""
        if self.worker is not None:
            if self.worker.pid is not None:
                self.missed = True
                rig.say(f"{self.worker.name} did not reach that point, and is killed now")
            self.worker.kill()


class KillWorkerBeforeSend(KillWorker):
    """The message was not sent, but the claim exists: only a person can say that sending is safe."""

    name = "kill_worker_before_send"
    title = "a worker is killed between its claim and the send"
    place = "before_send"


class KillWorkerAfterSend(KillWorker):
    """The provider has the message, but the row does not say so."""

    name = "kill_worker_after_send"
    title = "a worker is killed between the send and the write"
    place = "after_send"


class KillWorkerAfterWrite(KillWorker):
    """The row is written, but the job is not finished."""

    name = "kill_worker_after_write"
    title = "a worker is killed right after a write"
    place = "after_write"


class HangWorker(Fault):
    """A worker gets stuck in the middle of a job and keeps renewing the job's lock."""

    name = "hang_worker"
    title = "a worker hangs and keeps its job's lock"
    duration_seconds = (8.0, 15.0)

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Hang one of the running workers, with a campaign to work on."""
        workload = Workload(rig)
        workload.start(workload.label(self.name, rng), rng.randint(60, 120), rng.choice(workload.tenants))
        alive = [worker for worker in rig.workers if worker.pid is not None and not worker.hung]
        self.worker = rng.choice(alive) if alive else rig.start_worker()
        self.worker.hang()
        return f"{self.worker.name} (pid {self.worker.pid}) hangs and keeps its lock"

    def end(self, rig: Rig) -> None:
        """Kill it, as a person would."""
        if self.worker is not None and self.worker.pid is not None:
            self.worker.kill()
            rig.say(f"person: killed {self.worker.name}, which was hanging")


class RestartWorkers(Fault):
    """The workers crash a moment after each start, as a bad deployment does, until they have done so often."""

    name = "restart_workers"
    title = "the workers crash and restart again and again"
    duration_seconds = (4.0, 8.0)

    def __init__(self) -> None:
        self.crashes = 0
        self._until = 0.0

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Crash those that run now."""
        self._until = time.monotonic() + _CRASHING_SECONDS
        self._crash(rig)
        return f"the workers crash (kill -9) after every start, {_CRASHES} times"

    def end(self, rig: Rig) -> None:
        """Crash those that run now, until it has been often enough.

        A worker that no look has seen in Redis is no restart, and is left alone.
        """
        self._crash(rig)
        if self.crashes < _CRASHES and time.monotonic() < self._until:
            raise NotYet(f"the workers crashed {self.crashes} of {_CRASHES} times")
        self.missed = self.crashes < _CRASHES

    def _crash(self, rig: Rig) -> None:
        with rig.owner.connect() as connection:
            seen = tuple(connection.scalars(sa.text("SELECT name FROM campaign_ops.worker")))
        for worker in rig.workers:
            if self.crashes < _CRASHES and worker.pid is not None and any(name.endswith(worker.name) for name in seen):
                worker.kill()
                self.crashes += 1
