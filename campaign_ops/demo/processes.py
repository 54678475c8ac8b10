"""Child processes of the demo: started in a session of their own, stopped by their own process id, never by name.

Knows nothing of what runs in them.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from campaign_ops.core.errors import ConfigurationError


def our_path() -> dict[str, str]:
    """The variable by which a child that runs in another directory finds this very package."""
    sources = str(Path(__file__).resolve().parents[2])
    return {"PYTHONPATH": os.pathsep.join(filter(None, [sources, os.environ.get("PYTHONPATH")]))}


@contextlib.contextmanager
def orderly_end(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for an orderly end; the children do not hear them."""
    before = {one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class ChildProcess:
    """One child in its own session, so that Ctrl-C in the terminal reaches the parent alone, which stops it in order.

    A clean exit of the parent stops the child too. After a crash of the parent the child may live on; the next
    ``start`` with the same ``pid_file`` ends it first.

    Args:
        name: What messages call it.
        command: Program and arguments.
        log_path: Where its output is appended to.
        pid_file: Remembers the child for the next parent; None where that is not wanted.
        stop_signal: What asks it to stop by itself.
        user: Numeric user and group to run as; None for the parent's own.
        environment: Variables on top of the parent's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        pid_file: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log_path = log_path
        self._pid_file = pid_file
        self._stop_signal = stop_signal
        self._user = user
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None when it does not run."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; nothing happens when it runs already."""
        if self.running:
            return
        self.end_leftover()
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
        self._remember()

    def stop(self, timeout_seconds: float = 10) -> None:
        """Ask it to stop, wait, and kill it with its children if it does not."""
        if self._process is not None and self.running:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._forget()

    def kill(self) -> None:
        """Kill it as a crash does (SIGKILL), and see that no child of it is left."""
        if self._process is not None and self.running:
            _kill_tree(psutil.Process(self._process.pid))
            self._process.wait()
        self._forget()

    def end_leftover(self) -> None:
        """End the child that a crashed parent left behind, if it is still the process that was started then."""
        leftover = self._leftover()
        if leftover is not None:
            leftover.send_signal(self._stop_signal)
            deadline = time.monotonic() + 10
            while _alive(leftover) and time.monotonic() < deadline:
                time.sleep(0.02)
            _kill_tree(leftover)
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)

    def last_words(self, lines: int = 3) -> str:
        """The end of its log in one line, for a message."""
        if not self.log_path.exists():
            return "it wrote nothing"
        written = [line.strip() for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(written[-lines:]) or "it wrote nothing"

    def _remember(self) -> None:
        if self._pid_file is None or self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            # A pid alone is not enough: after a reboot it may be anybody's.
            born = psutil.Process(self._process.pid).create_time()
            self._pid_file.write_text(f"{self._process.pid} {born}\n")

    def _leftover(self) -> psutil.Process | None:
        if self._pid_file is None or not self._pid_file.exists():
            return None
        try:
            pid, born = self._pid_file.read_text().split()
            process = psutil.Process(int(pid))
        except (ValueError, psutil.NoSuchProcess):
            return None
        return process if abs(process.create_time() - float(born)) < 0.1 else None

    def _forget(self) -> None:
        atexit.unregister(self._at_exit)
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)

    def _at_exit(self) -> None:
        # A forked child inherits the hook, but not the right to stop its parent's servers.
        if os.getpid() == self._parent:
            self.stop()


class DirectoryLock:
    """A directory belongs to one living process: a second one is refused, a dead one leaves nothing behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the directory.

        Raises:
            ConfigurationError: A living process has it.
        """
        if self._file is not None:
            return
        file = (self._directory / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise ConfigurationError(
                f"already in use by process {holder}",
                where=str(self._directory),
                mend="stop that one first, or choose another work directory",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _kill_tree(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = process.children(recursive=True)
        process.kill()
        # PostgreSQL's backends leave by themselves once their parent is gone, and must, before it can start again.
        deadline = time.monotonic() + 3
        while any(map(_alive, family)) and time.monotonic() < deadline:
            time.sleep(0.01)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def _alive(process: psutil.Process) -> bool:
    # Orphans fall to process 1, which may be slow to reap them.
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
