"""A worker whose client is BullMQ's own for Node: Node takes the jobs, this process does what ShopWorker does.

    python -m campaign_ops.lab.shop.node_worker --major 5 --database-url … --queue-url … --name node-5

Both processes are one worker. When this one dies, Node loses its input and dies too, locks and all.
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

from campaign_ops.lab.shop.worker import KEPT_JOBS, ShopWorker, make_worker
from campaign_ops.lab.shop.worker_command import READY, WorkerCommand, parse_command

log = logging.getLogger("campaign_ops.lab.shop.node_worker")

PACKAGES = Path(__file__).parent / "node"
"""Where `npm ci` puts BullMQ, one of each major version."""
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
        """Remember until when it is given back; Node does it."""
        self.until = timestamp


class _Hands:
    """Does the jobs that one Node process takes."""

    def __init__(self, node: Process, demo: ShopWorker) -> None:
        self._node = node
        self._demo = demo
        self._under_way: set[asyncio.Task[None]] = set()

    async def listen(self, name: str, queue: str) -> None:
        """Until Node's output ends."""
        assert self._node.stdout is not None
        async for line in self._node.stdout:
            said = json.loads(line)
            if "ready" in said:
                log.info("worker %s %s %s", name, READY, queue)
                continue
            task = asyncio.create_task(self._do(said))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def say(self, word: dict[str, Any]) -> None:
        assert self._node.stdin is not None
        self._node.stdin.write(json.dumps(word).encode() + b"\n")
        await self._node.stdin.drain()

    async def _do(self, said: dict[str, Any]) -> None:
        job, answer = HandedJob(said["id"], said["name"], said["data"]), {"take": said["take"]}
        try:
            answer["value"] = await self._demo.process(job, "")
        except DelayedError:
            answer["until"] = job.until
        except Exception as error:  # noqa: BLE001 - whatever it is, BullMQ's client takes it for a failed attempt
            answer["error"] = str(error) or type(error).__name__
        await self.say(answer)


async def run(given: WorkerCommand, major: int) -> None:
    """Work until SIGTERM or SIGINT, or until Node ends."""
    profile, options = given.profile, given.options
    assert profile.queue is not None, f"profile {profile.name} has no queue"
    engine = sa.create_engine(given.database_url, pool_size=options.concurrency + 1, pool_pre_ping=True)
    client = redis.Redis.from_url(given.queue_url)
    demo = make_worker(engine, client, profile, given.shape, options)
    settings = {
        "prefix": given.prefix,
        "name": options.name,
        "concurrency": options.concurrency,
        "lockDuration": options.lock_ms,
        "stalledInterval": options.stalled_ms,
        "removeOnComplete": {"count": KEPT_JOBS},
    }
    node = await asyncio.create_subprocess_exec(
        "node",
        *(str(_SCRIPT), str(major), str(PACKAGES), given.queue_url, profile.queue.name, json.dumps(settings)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=sys.stderr,
        limit=_LONGEST_LINE,
    )
    hands = _Hands(node, demo)
    listening = asyncio.create_task(hands.listen(options.name, profile.queue.name))
    stopping = asyncio.create_task(demo.stopping.wait())
    await asyncio.wait((listening, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not listening.done():
        await hands.say({"close": True})
    stopping.cancel()
    await listening
    await node.wait()
    client.close()
    engine.dispose()


def main() -> None:
    """The command line: that of `campaign_ops.lab.shop.worker`, and the major version of the client."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--major", type=int, required=True)
    given, rest = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(run(parse_command(rest, __doc__), given.major))


if __name__ == "__main__":
    main()
