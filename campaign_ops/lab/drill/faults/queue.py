"""Faults of the queue: somebody pauses it, jobs are lost or doomed, another version adds them with priorities."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import redis

from campaign_ops.lab.drill.faults.base import Fault
from campaign_ops.lab.drill.workload import Shop

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Stand
    from campaign_ops.profile.model import QueueProfile

# In one step: a job that a worker has taken meanwhile is not what BullMQ would mark so.
_DOOM_WAITING = """
local doomed = 0
for i = 2, #KEYS do
    if redis.call('LPOS', KEYS[1], ARGV[i - 1]) then
        redis.call('HSET', KEYS[i], 'defa', 'job stalled more than allowable limit')
        doomed = doomed + 1
    end
end
return doomed
"""


class PauseQueue(Fault):
    """A person pauses the queue: nothing is lost, however long nothing moves."""

    name = "pause_queue"
    title = "the queue is paused and resumed"
    holds = frozenset({"queue"})
    lasts_seconds = (5.0, 9.0)

    def inject(self, stand: Stand, chance: random.Random) -> str:  # noqa: ARG002
        """Pause it."""
        stand.queue.pause()
        return "a person paused the queue"

    def end(self, stand: Stand) -> None:
        """Resume it."""
        stand.queue.resume()


class Priorities(Fault):
    """A version of the application that adds its jobs with priorities: they stand where nobody used to look."""

    name = "priorities"
    title = "a worker version enqueues with priorities"
    holds = frozenset({"job options"})
    lasts_seconds = (6.0, 10.0)

    def __init__(self) -> None:
        self._before: QueueProfile | None = None

    def inject(self, stand: Stand, chance: random.Random) -> str:
        """Whatever the application enqueues from now on has a priority."""
        queue, priority = stand.queue, chance.randint(1, 50)
        if self._before is None:
            self._before = queue.profile
        options = {**self._before.options, "priority": priority}
        queue.profile = self._before.model_copy(update={"options": options})
        return f"a new version of the application is out: its jobs have priority {priority}"

    def end(self, stand: Stand) -> None:
        """The old version is back."""
        if self._before is not None:
            stand.queue.profile = self._before


class LoseJobs(Fault):
    """Jobs vanish from Redis, those of one campaign and some of the others'."""

    name = "lose_jobs"
    title = "jobs vanish from the queue"

    def inject(self, stand: Stand, chance: random.Random) -> str:
        """Start a campaign, and take jobs out of the queue."""
        shop = Shop(stand)
        jobs = shop.start(shop.label(self.name, chance), chance.randint(140, 260), chance.choice(shop.tenants))
        waiting = sorted(set(stand.queue.job_ids("wait")) - set(jobs))
        unlucky = [*jobs[len(jobs) // 2 :], *chance.sample(waiting, len(waiting) // 3)]
        vanished = stand.queue.remove(unlucky)
        self.missed = not vanished
        return f"{vanished} jobs vanished from the queue"


class LoseAllButOne(Fault):
    """The one that is left lives on until the others are sent, so it must not speak for them."""

    name = "lose_all_but_one"
    title = "a campaign's jobs vanish but for the last, which waits until all others are sent"

    def inject(self, stand: Stand, chance: random.Random) -> str:
        """Start a campaign that is sent in stages, and take all its jobs but the last out of the queue."""
        shop = Shop(stand)
        label = shop.label(self.name, chance)
        # With a delay: what a worker holds cannot vanish.
        jobs = shop.start(label, chance.randint(60, 100), chance.choice(shop.tenants), {"delay": 1000})
        vanished = stand.queue.remove(jobs[:-1])
        self.missed = not vanished
        return f"{vanished} jobs of {label} vanished, the last of {len(jobs)} waits for them"


class DoomJobs(Fault):
    """Jobs that stalled too often: they wait like the others, but fail as soon as they are taken."""

    name = "doom_jobs"
    title = "jobs that stalled too often wait, and fail when they are taken"

    def inject(self, stand: Stand, chance: random.Random) -> str:
        """Start a campaign, and doom jobs of it while they wait."""
        shop = Shop(stand)
        jobs = shop.start(shop.label(self.name, chance), chance.randint(140, 260), chance.choice(shop.tenants))
        keys = [stand.queue.key("wait"), *map(stand.queue.key, jobs[1:])]
        with redis.Redis.from_url(stand.queue.url) as client:
            doomed = client.eval(_DOOM_WAITING, len(keys), *keys, *jobs[1:])
        self.missed = not doomed
        return f"{doomed} of {len(jobs)} jobs of a campaign stalled too often and will fail"
