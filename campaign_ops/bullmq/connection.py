"""One queue's keys in one Redis, and the round trips that read them. What a job means is not known here.

Nothing here writes a byte to Redis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from campaign_ops.bullmq import driver
from campaign_ops.bullmq.address import QueueAddress, driver_errors_mapped
from campaign_ops.bullmq.facts import Facts, FixedFacts
from campaign_ops.bullmq.owner import ask_owner
from campaign_ops.bullmq.states import DEAD, LISTS, SORTED_SETS, state_by_id
from campaign_ops.core.ids import JobIds
from campaign_ops.profile.queue import QueueProfile

if TYPE_CHECKING:
    import redis

JOBS_PER_PAGE = 200
KEYS_PER_PAGE = 500

T = TypeVar("T")


class QueueConnection:
    """Connects on first use. A platform sets ``facts`` to itself when it takes the queue.

    Attributes:
        where: The queue, for messages.

    Raises:
        QueueUnavailable: From every method, when Redis is away, refuses, or answers in part.
    """

    def __init__(self, address: QueueAddress, profile: QueueProfile, client: redis.Redis | None = None) -> None:
        self.address = address
        self.profile = profile
        self.facts: Facts = FixedFacts()
        self.name = profile.name
        self.where = f"Redis {address.endpoint}, queue {address.prefix}:{profile.name}"
        self._given_client = client
        self._may_ask_info = True

    @cached_property
    def _client(self) -> redis.Redis:
        return self._given_client or self.address.reading_client()

    @property
    def ids(self) -> JobIds:
        """The rules by which its jobs' ids are compared with the database's, and written."""
        return self.facts.job_ids()

    def key(self, part: str) -> str:
        """Return the key of a state, or of the job with this id."""
        return f"{self.address.prefix}:{self.profile.name}:{part}"

    def live_ids(self) -> Mapping[str, str]:
        """Read the id and the state of every live job at one moment."""
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=True) as pipe:
            self.ask_live_ids(pipe)
            return state_by_id(pipe.execute())

    def fields(self, job_ids: Sequence[str], *names: str) -> Iterator[tuple[str, list[str | None]]]:
        """Read fields of many jobs, page by page: (id, values); all None where the job does not exist."""
        for page in pages(job_ids, JOBS_PER_PAGE):
            rows = self.each("hmget", [[self.job_key(job_id), *names] for job_id in page])
            yield from zip(page, rows, strict=True)

    def present(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Return the ids under which a job exists now, in whatever state."""
        return self._existing(job_ids, "")

    def locked(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Return the ids of the jobs whose lock a worker holds now."""
        return self._existing(job_ids, ":lock")

    def ask_live_ids(self, pipe: Any) -> None:
        """Add to a pipeline the question for the ids of every live job; `state_by_id` takes the answers."""
        for state in LISTS:
            pipe.lrange(self.key(state), 0, -1)
        for state in SORTED_SETS:
            pipe.zrange(self.key(state), 0, -1)

    def ask_about(self, pipe: Any) -> None:
        """Add to a pipeline what is asked about every queue besides its live jobs: dead jobs and the owner."""
        for state in DEAD:
            pipe.zcard(self.key(state))
        ask_owner(pipe, self.key)

    def each(self, command: str, calls: Iterable[Sequence[str | bytes]]) -> list[Any]:
        """Send one command many times in one round trip."""
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=False) as pipe:
            for arguments in calls:
                getattr(pipe, command)(*arguments)
            return pipe.execute()

    def multi(self, fill: Callable[[Any], None]) -> tuple[list[Any], tuple[Any, ...]]:
        """Run what ``fill`` asks, `ask_about` and INFO in one MULTI/EXEC; return both answers, INFO last."""
        with driver_errors_mapped(self.where):
            try:
                return self._transact(fill, with_info=self._may_ask_info)
            except driver.ResponseError as error:
                # Some users may not run INFO; then role and run id are unknown.
                if not (self._may_ask_info and "info" in str(error).lower()):
                    raise
                answer = self._transact(fill, with_info=False)
                self._may_ask_info = False
                return answer

    def unless_refused(self, command: str, *arguments: str | bytes | int, default: Any) -> Any:
        """Run a command that many hosts do not allow; return ``default`` where they refuse."""
        with driver_errors_mapped(self.where):
            try:
                execute: Any = self._client.execute_command  # untyped in the driver
                return execute(command, *arguments)
            except driver.ResponseError:
                return default

    @cached_property
    def lists_all_keys(self) -> bool:
        """Whether SCAN lists every key that our commands reach: not where several servers share the keys."""
        about = self.unless_refused("INFO", "server", default={})
        return about.get("redis_mode") in ("standalone", "sentinel")

    def size(self) -> int:
        """Return the number of keys in the database; more than any where the server does not say."""
        return int(self.unless_refused("DBSIZE", default=sys.maxsize))

    def keys_like(self, pattern: str, count: int) -> set[str] | None:
        """List the keys that match a glob pattern, by SCAN; None where the user may not run it.

        Every key that exists from the first round trip to the last is listed. ``count`` is about the number of keys
        that the server looks at in each.
        """
        listed: set[str] = set()
        answer = self.unless_refused("SCAN", 0, "MATCH", pattern, "COUNT", count, default=None)
        while answer is not None:
            cursor, some = answer
            listed.update(some)
            if not int(cursor):
                return listed
            with driver_errors_mapped(self.where):
                answer = self._client.scan(cursor, match=pattern, count=count)
        return None

    def _transact(self, fill: Callable[[Any], None], *, with_info: bool) -> tuple[list[Any], tuple[Any, ...]]:
        with self._client.pipeline(transaction=True) as pipe:
            fill(pipe)
            asked = len(pipe)
            self.ask_about(pipe)
            if with_info:
                pipe.info()
            answers = pipe.execute()
        return answers[:asked], (*answers[asked:], *([] if with_info else [{}]))

    def _existing(self, job_ids: Iterable[str], suffix: str) -> frozenset[str]:
        existing: set[str] = set()
        for page in pages(list(job_ids), KEYS_PER_PAGE):
            numbers = self.each("exists", [[self.job_key(job_id + suffix)] for job_id in page])
            existing.update(job_id for job_id, number in zip(page, numbers, strict=True) if number)
        return frozenset(existing)

    def job_key(self, job_id: str) -> str | bytes:
        """Return the key of a job, whose id may be any bytes: in ours they appear as lone surrogates."""
        key = self.key(job_id)
        return key if key.isascii() else key.encode(errors="surrogateescape")


def pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut ``items`` into runs of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
