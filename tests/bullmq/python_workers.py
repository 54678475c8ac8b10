"""Workers of BullMQ's Python client, as a process: `python -m tests.bullmq.python_workers URL COUNT OPTIONS REASON`.

It writes the id of each job that it takes on a line, and fails the job if a reason is given.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from bullmq import Worker


async def run(url: str, count: str, options: str, reason: str) -> None:
    async def process(job: Any, _token: str) -> None:
        sys.stdout.write(f"{job.id}\n")
        sys.stdout.flush()
        if reason:
            raise RuntimeError(reason)

    more = {"connection": url, "autorun": False, **json.loads(options)}
    await asyncio.gather(*[Worker("sms-send", process, more).run() for _ in range(int(count))])


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
