"""Adding jobs to a queue, and removing those that no worker has taken: the only code that writes jobs to Redis.

It uses BullMQ's own client and scripts: a raw LPUSH would wake no worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from campaign_ops.bullmq import driver
from campaign_ops.bullmq.address import QueueAddress, driver_errors_mapped, error_in_script, unavailable
from campaign_ops.bullmq.guard import Guard, NothingAdded, packed, refusal, script
from campaign_ops.bullmq.states import LISTS, OWN_ID_PREFIX, SORTED_SETS
from campaign_ops.core.errors import QueueUnavailable, Refused
from campaign_ops.profile.queue import QueueProfile

if TYPE_CHECKING:
    import bullmq  # 0.1 s: loaded by the first call that writes, and most commands write no job

MAX_JSON_INTEGER = 2**53 - 1  # the largest that JavaScript reads back unchanged
SLUG_LENGTH = 40

T = TypeVar("T")


@dataclass(frozen=True)
class NewJob:
    """One batch to be sent."""

    id: str
    campaign_id: str
    tenant: str
    recipient_ids: tuple[str, ...]


def job_id(campaign_id: str, attempt: int, batch: int, salt: str) -> str:
    """Make an id that BullMQ accepts: same for the same arguments, no colon, never all digits, under 120 characters.

    Args:
        campaign_id: Any text; the id contains its readable part, and a hash of all arguments makes it unique.
        attempt: Number of this re-enqueue of the campaign.
        batch: Number of the batch within the attempt.
        salt: Distinguishes the attempts of different sweeps.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", campaign_id)[:SLUG_LENGTH].strip("-")
    digest = hashlib.sha256(json.dumps([campaign_id, attempt, batch, salt]).encode()).hexdigest()[:16]
    return f"{OWN_ID_PREFIX}{slug}-a{attempt}-b{batch}-{digest}"


def fill_payload(job: NewJob, profile: QueueProfile, *, numeric_ids: bool) -> dict[str, Any]:
    """Put a batch into the profile's payload.

    With ``numeric_ids`` the ids of campaign and recipients are numbers, and so is the tenant's where it is one.

    Raises:
        Refused: An id is not a number, or one that JavaScript cannot hold.
    """
    as_id: Callable[[str], str | int] = _number if numeric_ids else str
    values: dict[Any, Any] = {
        "{campaign_id}": as_id(job.campaign_id),
        "{tenant}": as_id(job.tenant) if _is_number(job.tenant) else job.tenant,
        "{recipient_ids}": [as_id(recipient_id) for recipient_id in job.recipient_ids],
    }
    return {key: values.get(value, value) for key, value in profile.payload.items()}


def _is_number(text: str) -> bool:
    """Return whether it is a whole number as numbers are written: ``007`` is a name."""
    return text.isascii() and text.isdecimal() and str(int(text)) == text and int(text) <= MAX_JSON_INTEGER


def _number(text: str) -> int:
    if not is_writable_number(text):
        raise Refused(
            f"id {text!r} cannot be written as a number into a job",
            mend="set id_type in the profile to what the application's own jobs carry",
        )
    return int(text)


def is_writable_number(text: str) -> bool:
    """Return whether JavaScript reads the id back unchanged when it is written as a number."""
    try:
        number = int(text)
    except ValueError:
        return False
    return str(number) == text and abs(number) <= MAX_JSON_INTEGER


class QueueWriter:
    """BullMQ's client for one queue, on an event loop in a thread of its own.

    The caller's thread may have a running loop, and a connection outlives the call only on the loop that opened it.
    The thread starts with the first call. Calls raise QueueUnavailable when Redis is away or refuses.
    """

    def __init__(self, address: QueueAddress, profile: QueueProfile, where: str) -> None:
        self._address = address
        self._profile = profile
        self._where = where
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._queue: bullmq.Queue | None = None

    def add(
        self, jobs: Sequence[NewJob], payloads: Mapping[str, dict[str, Any]], guard: Guard | None = None
    ) -> tuple[list[str], QueueUnavailable | None]:
        """Add jobs under the profile's name and options, all in one step inside Redis, if the guard holds there.

        Returns:
            The ids that were added: no id that existed in any state, nor of a campaign that got another job since the
            guard's look; and the error with which Redis refused one and the rest was not tried.

        Raises:
            Refused: The queue is paused, or the guard does not hold. Nothing was added.
            NothingAdded: Redis answered, but cannot add; or BullMQ's client refused the job.
        """

        async def add(queue: bullmq.Queue) -> list[Any]:
            import bullmq  # noqa: PLC0415 - see above

            async with queue.client.pipeline(transaction=True) as prepared, queue.client.pipeline() as pipe:
                for job in jobs:
                    options = {**self._profile.options, "jobId": job.id}
                    try:
                        new = bullmq.Job(queue, self._profile.job, payloads[job.id], options, job.id)
                        await queue.scripts.addJob(new, prepared)
                    except (TypeError, ValueError) as error:  # nothing has been sent to Redis yet
                        what = f"BullMQ's client cannot add the job: {error}"
                        raise NothingAdded(
                            what, where=self._where, mend="correct queue.options in the profile"
                        ) from None
                # BullMQ's client chooses the script and its arguments; we only put the guard in front.
                (add_job,) = (prepared_script.script for prepared_script in prepared.scripts)
                keys, calls = _calls(prepared.command_stack)
                conditions = packed(guard, {job.campaign_id for job in jobs}, self._profile)
                arguments = [queue.toKey(""), conditions, len(calls[0])]
                for job, call in zip(jobs, calls, strict=True):
                    arguments += [job.id, job.campaign_id, *call]
                states = [queue.toKey(state) for state in (*LISTS, *SORTED_SETS, "meta", "events")]
                await queue.client.register_script(script(add_job))([*states, *keys], arguments, client=pipe)
                answer: list[Any] = (await pipe.execute())[0]
                return answer

        try:
            answer = self._run(add)
        except QueueUnavailable as error:
            if not isinstance(error.__cause__, driver.ResponseError):
                raise
            raise NothingAdded(error.what, where=error.where, mend=error.mend) from error
        if answer[0] != "added":
            raise refusal(answer, self._where)
        added = [job.id for job, outcome in zip(jobs, answer[1:], strict=False) if outcome == "added"]
        if not isinstance(answer[-1], list):
            return added, None
        refused = unavailable(error_in_script(answer[-1][0]), self._where)
        if not added:
            raise NothingAdded(refused.what, where=refused.where, mend=refused.mend)
        return added, refused

    def remove(self, job_id: str) -> bool:
        """Remove a job from the queue; False when a worker holds it."""

        async def remove(queue: bullmq.Queue) -> bool:
            return bool(await queue.remove(job_id, {"removeChildren": False}) == 1)

        return self._run(remove)

    def close(self) -> None:
        """Close the connection and end the thread. A later call starts new ones."""
        with self._lock:
            loop, thread, queue = self._loop, self._thread, self._queue
            self._loop = self._thread = self._queue = None
        if loop is None or thread is None:
            return
        if queue is not None:
            with driver_errors_mapped(self._where):
                self._wait(loop, _close(queue))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _run(self, work: Callable[[bullmq.Queue], Coroutine[Any, Any, T]]) -> T:
        with driver_errors_mapped(self._where):
            return self._wait(self._running_loop(), self._with_queue(work))

    def _wait(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
        # Looking for the scripts, loading them, the work itself: three answers and a connection.
        longest = self._address.connect_timeout_seconds + 3 * self._address.read_timeout_seconds
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, longest), loop).result()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="bullmq", daemon=True)
                self._thread.start()
            return self._loop

    async def _with_queue(self, work: Callable[[bullmq.Queue], Coroutine[Any, Any, T]]) -> T:
        if self._queue is None:
            import bullmq  # noqa: PLC0415 - see above

            # The version check would ask INFO and warn about the eviction policy; `doctor` reports it.
            self._queue = bullmq.Queue(
                self._profile.name,
                {
                    "connection": self._address.writing_client(),
                    "prefix": self._address.prefix,
                    "skipVersionCheck": True,
                },
            )
        return await work(self._queue)


def _calls(commands: Sequence[tuple[tuple[Any, ...], Any]]) -> tuple[list[Any], list[list[Any]]]:
    """Return the keys of a script that was called many times, and the arguments of each call."""
    number = int(commands[0][0][2])
    return list(commands[0][0][3 : 3 + number]), [list(call[3 + number :]) for call, _ in commands]


async def _close(queue: bullmq.Queue) -> None:
    sentinels = getattr(getattr(queue.client.connection_pool, "sentinel_manager", None), "sentinels", [])
    await queue.close()
    for sentinel in sentinels:
        await sentinel.aclose()
