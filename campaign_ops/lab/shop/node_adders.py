"""The application's side that adds jobs, with BullMQ's clients for Node of several versions in turn."""

from __future__ import annotations

import itertools
import json
import select
import subprocess
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import redis

from campaign_ops.lab.shop.node_worker import PACKAGES

_SCRIPT = PACKAGES / "adder.js"
_ANSWER_SECONDS = 15.0


class NodeAdders:
    """A process for each client. A context manager; a process is started when it is first used, or again if it died.

    Args:
        url: Redis URL.
        prefix: BullMQ's key prefix.
        majors: The clients' major versions.
    """

    def __init__(self, url: str, prefix: str, majors: Iterable[int]) -> None:
        self._url = url
        self._prefix = prefix
        self._turn = itertools.cycle(majors)
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._using = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for major in list(self._processes):
            self._end(major)

    def add(self, queue: str, jobs: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
        """Add jobs with the client whose turn it is; return its major version, and their ids.

        Raises:
            ConnectionError: Redis did not take them, or not all of them.
        """
        with self._using:
            major = next(self._turn)
            process = self._started(major)
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps({"queue": queue, "jobs": list(jobs)}) + "\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], _ANSWER_SECONDS)
                answer = json.loads(process.stdout.readline()) if ready else {"error": "no answer"}
            except (OSError, ValueError) as error:
                answer = {"error": str(error)}
            if "ids" not in answer:
                self._end(major)  # what it may still have in hand must not be added later
                raise redis.ConnectionError(f"BullMQ {major} for Node: {answer['error']}")
            return major, [str(job_id) for job_id in answer["ids"]]

    def _started(self, major: int) -> subprocess.Popen[str]:
        known = self._processes.get(major)
        if known is None or known.poll() is not None:
            command = ["node", str(_SCRIPT), str(major), str(PACKAGES), self._url, self._prefix]
            self._processes[major] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        return self._processes[major]

    def _end(self, major: int) -> None:
        process = self._processes.pop(major)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
