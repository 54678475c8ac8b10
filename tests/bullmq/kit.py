"""The kit of the queue's tests: a profile, jobs written by hand, BullMQ's Python client and workers, servers."""

from __future__ import annotations

import asyncio
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bullmq
import redis
import redis.asyncio

from campaign_ops.bullmq.queue import NewJob, Queue, Reading
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from campaign_ops.lab.servers.processes import ChildProcess, our_path
from campaign_ops.lab.servers.programs import redis_program
from campaign_ops.profile.queue import QueueProfile
from tests.lab.waiting import wait_until as until

__all__ = ["until"]

PROFILE = QueueProfile(
    name="sms-send",
    job="sendBulkSMS",
    payload={"campaignId": "{campaign_id}", "shopId": "{tenant}", "recipientIds": "{recipient_ids}", "source": "ops"},
    options={"attempts": 5, "backoff": {"type": "exponential", "delay": 3000}},
    markers=("sms:sent:campaignRecipient:{recipient_id}", "sms:send-claim:{recipient_id}"),
)


def key(part: str) -> str:
    return f"bull:sms-send:{part}"


def payload(campaign: object, *recipients: object) -> str:
    return json.dumps({"campaignId": campaign, "shopId": "shop", "recipientIds": recipients})


def a_job(one: str, campaign: str = "c1", *recipients: str) -> NewJob:
    return NewJob(one, campaign, "shop", recipients or ("r1", "r2"))


def connect(server: EmbeddedRedis) -> Any:
    return redis.Redis(port=server.port, decode_responses=True)


def put(raw: Any, state: str, one: str, data: str | bytes, *, name: str = "sendBulkSMS", **fields: str) -> None:
    """Put a job into a state, as BullMQ's scripts do."""
    raw.hset(key(one), mapping={"name": name, "data": data, **fields})
    if state in {"wait", "paused", "active"}:
        raw.lpush(key(state), one)
    else:
        raw.zadd(key(state), {one: 1})


def read(queue: Queue, campaign_ids: Sequence[str]) -> Reading:
    """Read the queue's live jobs now, to the end."""
    jobs = queue.live_jobs(queue.snapshot(), campaign_ids)
    list(jobs)
    return jobs.result


def contents(server: EmbeddedRedis) -> dict[bytes, bytes]:
    """Every key with its value, byte for byte."""
    with redis.Redis(port=server.port) as client:
        return {name: client.dump(name) for name in client.keys("*")}


def add_by_bullmq(server: EmbeddedRedis, jobs: list[dict[str, Any]]) -> None:
    """Add jobs as another application would."""

    async def run() -> None:
        client = redis.asyncio.Redis(port=server.port, decode_responses=True)
        queue = bullmq.Queue("sms-send", {"connection": client})
        await queue.addBulk(jobs)
        await queue.close()

    asyncio.run(run())


@contextmanager
def workers(
    server: EmbeddedRedis, count: int, directory: Path, *, fail: str = "", **options: Any
) -> Iterator[Callable[[], list[str]]]:
    """Python workers of BullMQ; yields what returns the ids of the jobs that they have taken.

    They live in a process that is killed: their own end spins when its event loop is cancelled.
    """
    output = directory / "workers.log"
    words = [server.url(), str(count), json.dumps(options), fail]
    command = [sys.executable, "-m", "tests.bullmq.python_workers", *words]
    child = ChildProcess("workers", command, log_path=output, environment=our_path())
    child.start()
    try:
        yield lambda: output.read_text().splitlines()
    finally:
        child.kill()


@contextmanager
def redis_process(directory: Path, *options: str) -> Iterator[None]:
    """Run a redis-server with any options: a socket, a sentinel."""
    child = ChildProcess("redis-server", [redis_program(), *options], log_path=directory / "redis-process.log")
    child.start()
    try:
        yield
    finally:
        child.stop()


@contextmanager
def answers_lost(server: EmbeddedRedis, word: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy of the server that cuts every connection after a request with ``word``, before the answer.

    Yields its port, and the requests after which it cut.
    """
    broken: list[bytes] = []

    class Proxy(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                while request := self.request.recv(1 << 20):
                    upstream.sendall(request)
                    answer = upstream.recv(1 << 20)
                    if word in request:
                        broken.append(request)
                        return
                    self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy.server_address[1], broken
        finally:
            proxy.shutdown()
            thread.join()
