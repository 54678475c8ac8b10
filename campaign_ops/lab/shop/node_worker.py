"""A worker with BullMQ's own client for Node: Node takes the jobs, this process does what ShopWorker does.

    python -m campaign_ops.lab.shop.node_worker --major 5 --database-url … --queue-url … --name node-5

Both processes are one worker. When this one dies, Node's input ends and Node exits too; its locks are not released.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
from bullmq.custom_errors import DelayedError

from campaign_ops.lab.shop.queues import queue_names
from campaign_ops.lab.shop.worker import KEPT_JOBS, ShopWorker, make_worker
from campaign_ops.lab.shop.worker_command import READY, WorkerCommand, parse_command

log = logging.getLogger("campaign_ops.lab.shop.node_worker")

PACKAGES = Path(__file__).parent / "node"
"""The directory in which `npm ci` installs BullMQ, one of each major version."""
_SCRIPT = PACKAGES / "worker.js"
_LONGEST_LINE = 1 << 24


@dataclass
class HandedJob:
    """A job that Node has taken and handed over."""

    id: Any
    name: Any
    data: Any
    until: int | None = None

    async def moveToDelayed(self, timestamp: int, token: str = "") -> None:  # noqa: N802, ARG002 - BullMQ's words
        """Note the time until which Node is to give it back."""
        self.until = timestamp


class _Hands:
    """Does the jobs that one Node process takes."""

    def __init__(self, node: Process, worker: ShopWorker) -> None:
        self._node = node
        self._worker = worker
        self._under_way: set[asyncio.Task[None]] = set()

    async def listen(self, name: str, queue: str) -> None:
        """Start the jobs that Node hands over, until its output ends."""
        assert self._node.stdout is not None
        async for line in self._node.stdout:
            message = json.loads(line)
            if "ready" in message:
                log.info("worker %s %s %s", name, READY, queue)
                continue
            task = asyncio.create_task(self._do(message))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def send(self, message: dict[str, Any]) -> None:
        assert self._node.stdin is not None
        self._node.stdin.write(json.dumps(message).encode() + b"\n")
        await self._node.stdin.drain()

    async def _do(self, message: dict[str, Any]) -> None:
        job, answer = HandedJob(message["id"], message["name"], message["data"]), {"take": message["take"]}
        try:
            answer["value"] = await self._worker.process(job, "")
        except DelayedError:
            answer["until"] = job.until
        except Exception as error:  # noqa: BLE001 - BullMQ's client counts any error as a failed attempt
            answer["error"] = str(error) or type(error).__name__
        await self.send(answer)


async def run(command: WorkerCommand, major: int) -> None:
    """Work until SIGTERM or SIGINT, or until Node ends."""
    profile, options = command.profile, command.options
    assert profile.queue is not None, f"profile {profile.name} has no queue"
    engine = sa.create_engine(command.database_url, pool_size=options.concurrency + 1, pool_pre_ping=True)
    client = redis.Redis.from_url(command.queue_url)
    worker = make_worker(engine, client, profile, command.shape, options)
    names = queue_names(profile.queue)
    settings = {
        "prefix": command.prefix,
        "name": options.name,
        "concurrency": max(1, options.concurrency // len(names)),
        "lockDuration": options.lock_ms,
        "stalledInterval": options.stalled_ms,
        "removeOnComplete": {"count": KEPT_JOBS},
    }
    node = await asyncio.create_subprocess_exec(
        "node",
        *(str(_SCRIPT), str(major), str(PACKAGES), command.queue_url, ",".join(names), json.dumps(settings)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=sys.stderr,
        limit=_LONGEST_LINE,
    )
    hands = _Hands(node, worker)
    listening = asyncio.create_task(hands.listen(options.name, ", ".join(names)))
    stopping = asyncio.create_task(worker.stopping.wait())
    await asyncio.wait((listening, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not listening.done():
        await hands.send({"close": True})
    stopping.cancel()
    await listening
    await node.wait()
    client.close()
    engine.dispose()


def main() -> None:
    """Run the command line: that of `campaign_ops.lab.shop.worker`, and the major version of the client."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--major", type=int, required=True)
    own, rest = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(run(parse_command(rest, __doc__), own.major))


if __name__ == "__main__":
    main()
