"""BullMQ's own clients for Node, driven by `bull.js` beside this file."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaign_ops.lab.servers.embedded import EmbeddedRedis
from campaign_ops.lab.shop.node_worker import PACKAGES

HOME = Path(__file__).parent
NODE_PATH = {"NODE_PATH": str(PACKAGES / "node_modules")}
"""The directory in which Node finds the clients."""
QUEUE = "sms-send"


def missing(major: int) -> str | None:
    """Return why this client cannot run, or None."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (PACKAGES / "node_modules" / f"bullmq{major}").is_dir():
        return f"BullMQ {major} is not installed: run `npm ci --prefix {PACKAGES}`"
    return None


class Node:
    """One major version of BullMQ on one server."""

    def __init__(self, major: int, server: EmbeddedRedis) -> None:
        self.major = major
        self._server = server

    def run(self, command: str, **arguments: Any) -> Any:
        """Run a command to its end and return its answer."""
        process = subprocess.run(
            self._line(command, arguments),
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, **NODE_PATH},
        )
        assert process.returncode == 0, f"exited with {process.returncode}: {process.stderr or process.stdout}"
        return json.loads(process.stdout)

    @contextmanager
    def stay(self, command: str, **arguments: Any) -> Iterator[Staying]:
        """Run a command until the end of the block; yield once it is ready."""
        process = subprocess.Popen(
            self._line(command, arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **NODE_PATH},
        )
        try:
            staying = Staying(process)
            staying.wait_until_ready()
            yield staying
        finally:
            # Closing its input would end it too, but a worker that waits for jobs may take seconds.
            process.kill()
            process.wait()

    def _line(self, command: str, arguments: dict[str, Any]) -> list[str]:
        return [
            "node",
            str(HOME / "bull.js"),
            str(self.major),
            self._server.url(),
            QUEUE,
            command,
            json.dumps(arguments),
        ]


class Staying:
    """A client that runs on and reports its events."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._heard: queue.Queue[Any] = queue.Queue()
        self._early: list[Any] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def hear(self, seconds: float = 120) -> Any:
        """Return its next message."""
        return self._early.pop(0) if self._early else self._heard.get(timeout=seconds)

    def wait_until_ready(self) -> None:
        # A worker may take a job before all its connections are up.
        while (message := self._heard.get(timeout=120)) != "ready":
            self._early.append(message)

    def crash(self) -> None:
        """Kill it: its locks are not released."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.put(json.loads(line))
