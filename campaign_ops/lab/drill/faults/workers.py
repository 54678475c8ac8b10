"""Faults of the application's workers. Those who obey the worker contract send to nobody twice through them all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from campaign_ops.lab.drill.faults.base import Fault
from campaign_ops.lab.drill.workload import Workload

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig
    from campaign_ops.lab.shop.worker_process import WorkerProcess

_PLACES = {
    "before_send": "between the claim and the send",
    "after_send": "between the send and the write",
    "after_write": "right after a write",
}


class KillWorker(Fault):
    """A worker that kills itself (SIGKILL) at one place of its work; the job stays active until found stalled."""

    place: ClassVar[str]
    lasts_seconds = (6.0, 10.0)

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Hire a worker that is going to die there, and start a campaign for it to die of."""
        workload, after = Workload(rig), rng.randint(2, 12)
        workload.start(workload.label(self.name, rng), rng.randint(80, 160), rng.choice(workload.tenants))
        self.worker = rig.start_worker(die_at=self.place, die_after=after)
        return f"{self.worker.name} will be killed (kill -9) {_PLACES[self.place]} of its recipient {after}"

    def end(self, rig: Rig) -> None:
        """It dies now if there was nothing for it to send."""
        if self.worker is not None:
            if self.worker.pid is not None:
                self.missed = True
                rig.say(f"{self.worker.name} found nothing to die of, and is killed now")
            self.worker.kill()


class KillWorkerBeforeSend(KillWorker):
    """Nobody was sent to, but the claim stands: only a person can say that it is safe."""

    name = "kill_worker_before_send"
    title = "a worker is killed between its claim and the send"
    place = "before_send"


class KillWorkerAfterSend(KillWorker):
    """The provider has the message, the row does not say so."""

    name = "kill_worker_after_send"
    title = "a worker is killed between the send and the write"
    place = "after_send"


class KillWorkerAfterWrite(KillWorker):
    """The row is written, the job is not over."""

    name = "kill_worker_after_write"
    title = "a worker is killed right after a write"
    place = "after_write"


class HangWorker(Fault):
    """A worker gets stuck in the middle of a job, and renews the job's lock for ever."""

    name = "hang_worker"
    title = "a worker hangs and keeps its job's lock"
    lasts_seconds = (8.0, 15.0)

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Hang one of those at work, with a campaign to work on."""
        workload = Workload(rig)
        workload.start(workload.label(self.name, rng), rng.randint(60, 120), rng.choice(workload.tenants))
        alive = [worker for worker in rig.workers if worker.pid is not None and not worker.hung]
        self.worker = rng.choice(alive) if alive else rig.start_worker()
        self.worker.hang()
        return f"{self.worker.name} (pid {self.worker.pid}) hangs and keeps its lock"

    def end(self, rig: Rig) -> None:
        """A person kills it."""
        if self.worker is not None and self.worker.pid is not None:
            self.worker.kill()
            rig.say(f"person: killed {self.worker.name}, which hung")
