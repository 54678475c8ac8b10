"""A platform whose queue is filled and emptied by one of BullMQ's own clients for Node.

One process per client version serves all tests: `tests/bullmq/station.js`. The worker is Node's; what it does with a
job that it has taken is the test's to say: write the rows, lie, fail, crash.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from campaign_ops.core.policy import Policy
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Answer
from tests.bullmq.kit import until
from tests.bullmq.node import HOME, NODE_PATH, QUEUE
from tests.conftest import World

STATES = ("wait", "paused", "active", "prioritized", "delayed", "waiting-children", "failed", "completed")
LIVE = STATES[:6]
QUICK_TO_STALL: dict[str, Any] = {"lockDuration": 300, "stalledInterval": 300}
TENANT = "shop_north"


class Station:
    """One client version in one process. Answers and what happens to workers come over its standard output."""

    def __init__(self, major: int, server: EmbeddedRedis) -> None:
        self.major = major
        self._process = subprocess.Popen(
            ["node", str(HOME / "station.js"), str(major), server.url(), QUEUE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **NODE_PATH},
        )
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._unheard: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send one request and return its answer."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=120)
        assert answer["id"] == number
        assert "error" not in answer, answer.get("error")
        return answer["value"]

    def hear(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any] | None:
        """Return the first thing of that kind that happened to a worker; None when nothing did in time."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self._unheard:
                if wanted(event):
                    self._unheard.remove(event)
                    return event
            try:
                self._unheard.append(self._events.get(timeout=max(deadline - time.monotonic(), 0)))
            except queue.Empty:
                return None

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._listener.join(timeout=20)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            (self._answers if "id" in said else self._events).put(said)


@dataclass
class Scene:
    """A platform, its Node application and its Node workers."""

    world: World
    station: Station
    sent: Counter[str] = field(default_factory=Counter)
    """How often the provider was given each recipient, by workers that told the truth."""
    received: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Jobs that workers took, by id, as Node saw them."""
    hired: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.raw = redis.Redis.from_url(self.world.queue.url, decode_responses=True)
        self.application = Application(self.world.app.engine, self.world.app.profile, self.world.app.tables.shape)
        self.world.queue.clear()
        self.ask("open")
        until(lambda: self.version().startswith(f"bullmq:{self.station.major}."))

    @property
    def port(self) -> int:
        return int(self.raw.connection_pool.connection_kwargs["port"])

    def ask(self, do: str, **arguments: Any) -> Any:
        return self.station.ask(do, prefix=self.world.queue.prefix, **arguments)

    def close(self) -> None:
        for worker in [*self.hired]:
            self.dismiss(worker)
        self.ask("leave")
        self.raw.close()

    def policy(self, **thresholds: Any) -> None:
        self.world.platform.policy = Policy(**thresholds)

    # -- the application -----------------------------------------------------------------------------------------------

    def campaign(self, label: str = "it", pending: int = 6) -> list[str]:
        """A campaign stuck by age; its recipients."""
        self.world.app.add_campaign(label, pending=pending)
        return self.world.app.pending_ids(label)

    def batch(self, recipients: Sequence[str], campaign: str = "it", **options: Any) -> dict[str, Any]:
        data = self.world.queue.payload(campaign, TENANT, recipients)
        return {"name": self.world.queue.profile.job, "data": data, "opts": options}

    def enqueue(self, recipients: Sequence[str], campaign: str = "it", *, size: int = 2, **options: Any) -> list[str]:
        """Jobs of ``size`` recipients each; their ids."""
        batches = [recipients[start : start + size] for start in range(0, len(recipients), size)]
        jobs: list[str] = self.ask("add", jobs=[self.batch(batch, campaign, **options) for batch in batches])
        return jobs

    def remove(self, *jobs: str) -> None:
        for job in jobs:
            self.ask("remove", job=job)

    def version(self) -> str:
        """Who owns the queue, as its client has written it."""
        return str(self.raw.hget(self.world.queue.key("meta"), "version"))

    def set_version(self, version: str) -> None:
        self.raw.hset(self.world.queue.key("meta"), "version", version)

    # -- workers -------------------------------------------------------------------------------------------------------

    def hire(self, *, forgets: bool = True, **options: Any) -> str:
        """Connect a worker; one that ``forgets`` removes what it completes."""
        worker = f"{self.world.queue.prefix}-{len(self.received)}-{time.monotonic_ns()}"
        kept = {"removeOnComplete": {"count": 0}} if forgets else {}
        self.ask("hire", worker=worker, options={**kept, **options})
        self.hired.append(worker)
        return worker

    def dismiss(self, worker: str) -> None:
        """Disconnect a worker at once; what it holds stays in `active`, and its locks run out."""
        self.hired.remove(worker)
        self.ask("dismiss", worker=worker, force=True)
        if not self.hired:
            until(lambda: self.workers() == 0)

    def workers(self) -> int | None:
        assert self.world.platform.queue is not None
        return self.world.platform.queue.state().workers

    def take(self) -> str:
        """Wait until a worker takes a job; the job's id."""
        event = self.station.hear(lambda said: "taken" in said)
        assert event is not None, f"no worker took a job: {self.states()}"
        self.received[event["taken"]] = event
        return str(event["taken"])

    def end(self, job: str, error: str | None = None) -> None:
        """Let a worker end what it took, without a word in the database: it lies, or fails with ``error``."""
        self.ask("finish", job=job, error=error)
        over = "failed" if error else "completed"
        assert self.station.hear(lambda said: said.get(over) == job), f"job {job} never ended"

    def send(self, job: str) -> None:
        """Let a worker send a job that it took: the provider, the rows, the end."""
        if self.received[job]["name"] == self.world.queue.profile.job:
            self.deliver(self.received[job]["data"]["recipientIds"])
        self.end(job)

    def deliver(self, recipients: Collection[str]) -> None:
        """The provider gets the messages, and the rows say so."""
        for recipient in recipients:
            self.sent[recipient] += 1
            self.application.write_answer(recipient, Answer(f"msg-{recipient}"))

    def keep_busy(self) -> str:
        """Hire a worker and put a job of another kind into its only hand."""
        self.hire()
        self.ask("add", jobs=[{"name": "exportContacts", "data": {}}])
        return self.take()

    def work_off(self, in_hand: Collection[str] = ()) -> None:
        """Let workers send whatever is or becomes live, delayed jobs included, beginning with what they hold."""
        for job in in_hand:
            self.send(job)
        if not self.hired:
            self.hire()
        deadline = time.monotonic() + 120
        while self.jobs(*LIVE):
            assert time.monotonic() < deadline, f"not worked off: {self.states()}"
            for job in self.jobs("delayed"):
                self.ask("promote", job=job)
            event = self.station.hear(lambda said: "taken" in said, seconds=0.1)
            if event is not None:
                self.received[event["taken"]] = event
                self.send(event["taken"])

    # -- reading back --------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, list[str]]:
        """Job ids by state, without the markers of BullMQ 4."""
        read = {state: self.world.queue.job_ids(state) for state in STATES}
        found = {state: sorted(one for one in ids if not one.startswith("0:")) for state, ids in read.items()}
        return {state: ids for state, ids in found.items() if ids}

    def jobs(self, *states: str) -> list[str]:
        read = self.states()
        return [job for state in states for job in read.get(state, ())]

    def recipients(self, jobs: Collection[str]) -> Counter[str]:
        """In how many of these jobs each recipient stands."""
        return Counter(str(one) for job in jobs for one in self.world.queue.job_data(job).get("recipientIds", ()))
