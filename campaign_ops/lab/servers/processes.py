"""Child processes of the lab: started in a session of their own, stopped by their own process id, never by name.

What runs in them is not known here. `subprocess` and `psutil` do the work; no kept library does the rest: another user,
a stop signal for each kind of server, and an end to what a killed parent has left running.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from campaign_ops.lab.servers.scratch import end_orphans, kill_tree, remember_child, scratch


def our_path() -> dict[str, str]:
    """Return the variable that makes a child in another directory import this very package."""
    sources = str(Path(__file__).resolve().parents[3])
    return {"PYTHONPATH": os.pathsep.join(filter(None, [sources, os.environ.get("PYTHONPATH")]))}


@contextlib.contextmanager
def orderly_end(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on Ctrl-C, SIGTERM and the end of the terminal. The children do not receive these signals."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ChildProcess:
    """One child in its own session: Ctrl-C in the terminal reaches only the parent, which stops it in order.

    A clean exit of the parent stops the child too. After a crash of the parent the child may live on; the next process
    that starts children ends it first.

    Args:
        name: Its name in messages.
        command: Program and arguments.
        log_path: The file its output is appended to.
        stop_signal: The signal that asks it to stop.
        user: Numeric user and group to run as; None for the parent's.
        environment: Variables on top of the parent's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log_path = log_path
        self._note: Path | None = None
        self._stop_signal = stop_signal
        self._user = user
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None when it is not running."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Return whether the child is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it is running already."""
        if self.running:
            return
        scratch()  # first: it removes leftovers, and at exit it is removed after the child has been stopped
        options: dict[str, object] = {}
        if self._user is not None:
            options = {"user": self._user[0], "group": self._user[1], "extra_groups": []}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env={**os.environ, **(self._environment or {})},
                **options,  # type: ignore[call-overload]
            )
        self._parent = os.getpid()
        atexit.register(self._at_exit)
        self._note = remember_child(self._process.pid, self._stop_signal)

    def stop(self, timeout_seconds: float = 10) -> None:
        """Ask it to stop and wait; kill it if it does not, and its children that go on without it.

        Dagster's webserver, stopped while its code server starts, left that running for good.
        """
        if self._process is not None and self.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(self._process.pid).children(recursive=True)
                self._process.send_signal(self._stop_signal)
                try:
                    self._process.wait(timeout_seconds)
                except subprocess.TimeoutExpired:
                    self.kill()
                end_orphans(family)
        self._forget()

    def kill(self) -> None:
        """Kill it as a crash does (SIGKILL), and leave no child of it running."""
        if self._process is not None and self.running:
            kill_tree(psutil.Process(self._process.pid))
            self._process.wait()
        self._forget()

    def last_words(self, lines: int = 3) -> str:
        """Return the end of its log in one line, for a message."""
        if not self.log_path.exists():
            return "it wrote nothing"
        written = [line.strip() for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(written[-lines:]) or "it wrote nothing"

    def _forget(self) -> None:
        atexit.unregister(self._at_exit)
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def _at_exit(self) -> None:
        # A forked child inherits the hook and must not stop its parent's servers.
        if os.getpid() == self._parent:
            self.stop()
