"""Other actors during a sweep: interference between its calls, other processes; and reads of the result."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from campaign_ops.bullmq.queue import Queue
from campaign_ops.lab.shop.fingerprint import database_fingerprint
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from tests.conftest import World


def covered(world: World) -> Counter[str]:
    """In how many live jobs each recipient stands."""
    jobs = world.queue.live_job_ids()
    return Counter(str(one) for job in jobs for one in world.queue.job_data(job).get("recipientIds", ()))


def state_fingerprint(world: World) -> object:
    with world.app.engine.connect() as connection:
        return database_fingerprint(connection, "campaign_ops")


class InterferingQueue(Queue):
    """The real queue, with an action that runs right after (or before) one of our calls."""

    def __init__(self, queue: Queue, *, after: str = "", before: str = "", what: Callable[[], object]) -> None:
        self._after, self._before, self._what = after, before, what
        super().__init__(queue.address, queue.profile)
        self.facts = queue.facts

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or name not in (self._after, self._before):
            return value

        def interfered(*arguments: Any, **options: Any) -> Any:
            if name == self._before:
                self._what()
            result = value(*arguments, **options)
            if name == self._after:
                self._what()
            return result

        return interfered


@contextmanager
def interfering(world: World, **options: Any) -> Iterator[None]:
    queue = world.platform.queue
    assert queue is not None
    world.platform.queue = InterferingQueue(queue, **options)
    try:
        yield
    finally:
        world.platform.queue.close()
        world.platform.queue = queue


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked process; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not return into pytest
            os._exit(1)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def counting_profile() -> Profile:
    """Rows from the start, counters besides, no queue: here counters are no evidence, and may be put right."""
    base = load_profile("messenger").model_dump(by_alias=True)
    base["recipient"] |= {"rows": "all"}
    return Profile.model_validate(base)
