"""Faults of the queue: it is paused, jobs are lost or doomed to fail, another version adds jobs with priorities."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from campaign_ops.lab.drill.faults.base import Fault
from campaign_ops.lab.drill.workload import Workload

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig


class PauseQueue(Fault):
    """A person pauses the queue: nothing is lost, however long it lasts."""

    name = "pause_queue"
    title = "the queue is paused and resumed"
    resources = frozenset({"queue"})
    duration_seconds = (5.0, 9.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Pause it."""
        rig.queue.pause()
        return "a person paused the queue"

    def end(self, rig: Rig) -> None:
        """Resume it."""
        rig.queue.resume()


class Priorities(Fault):
    """A version of the application adds its jobs with priorities: they are in ``prioritized``, not in ``wait``."""

    name = "priorities"
    title = "a worker version enqueues with priorities"
    resources = frozenset({"job options"})
    duration_seconds = (6.0, 10.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Give a priority to every job that the application adds from now on."""
        priority = rng.randint(1, 50)
        rig.queue.job_options = {"priority": priority}
        return f"a new version of the application is deployed: its jobs have priority {priority}"

    def end(self, rig: Rig) -> None:
        """Roll back to the old version."""
        rig.queue.job_options = {}


class LoseJobs(Fault):
    """Jobs vanish from Redis: half of one campaign's, and some of the others'."""

    name = "lose_jobs"
    title = "jobs vanish from the queue"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Start a campaign and remove jobs from the queue."""
        workload = Workload(rig)
        jobs = workload.start(workload.label(self.name, rng), rng.randint(140, 260), rng.choice(workload.tenants))
        waiting = sorted(set(rig.queue.job_ids("wait")) - set(jobs))
        unlucky = [*jobs[len(jobs) // 2 :], *rng.sample(waiting, len(waiting) // 3)]
        vanished = rig.queue.remove(unlucky)
        self.missed = not vanished
        return f"{vanished} jobs vanished from the queue"


class LoseAllButOne(Fault):
    """The remaining job lives until the other recipients are sent, so it must not count as coverage for them."""

    name = "lose_all_but_one"
    title = "all jobs of a campaign vanish except the last, which waits until the others are sent"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Start a campaign that is sent in stages, and remove all its jobs except the last."""
        workload = Workload(rig)
        label = workload.label(self.name, rng)
        # With a delay, so that no worker holds them: an active job cannot be removed.
        jobs = workload.start(label, rng.randint(60, 100), rng.choice(workload.tenants), {"delay": 1000})
        vanished = rig.queue.remove(jobs[:-1])
        self.missed = not vanished
        return f"{vanished} jobs of {label} vanished; the last of {len(jobs)} waits for them"


class DoomJobs(Fault):
    """Jobs stalled too often: they wait like the others, but fail as soon as they are taken."""

    name = "doom_jobs"
    title = "jobs that stalled too often wait, and fail when they are taken"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Start a campaign, and mark its waiting jobs as stalled too often."""
        workload = Workload(rig)
        jobs = workload.start(workload.label(self.name, rng), rng.randint(140, 260), rng.choice(workload.tenants))
        doomed = rig.queue.doom_waiting(jobs[1:])
        self.missed = not doomed
        return f"{doomed} of {len(jobs)} jobs of a campaign stalled too often and will fail"
