"""Child processes of the demo: started in a session of their own, stopped by their own process id, never by name.

Knows nothing of what runs in them.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.servers.scratch import kill_tree, remember_child, scratch

LOCK_NAME = "lock"


def our_path() -> dict[str, str]:
    """The variable by which a child that runs in another directory finds this very package."""
    sources = str(Path(__file__).resolve().parents[3])
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

    A clean exit of the parent stops the child too. After a crash of the parent the child may live on; the next process
    that starts children ends it first.

    Args:
        name: What messages call it.
        command: Program and arguments.
        log_path: Where its output is appended to.
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
        scratch()  # first, so that leftovers are gone, and that it is removed after the child has been stopped
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
            kill_tree(psutil.Process(self._process.pid))
            self._process.wait()
        self._forget()

    def last_words(self, lines: int = 3) -> str:
        """The end of its log in one line, for a message."""
        if not self.log_path.exists():
            return "it wrote nothing"
        written = [line.strip() for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(written[-lines:]) or "it wrote nothing"

    def _forget(self) -> None:
        atexit.unregister(self._at_exit)
        if self._note is not None:
            self._note.unlink(missing_ok=True)

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
        file = (self._directory / LOCK_NAME).open("a+")
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


@contextlib.contextmanager
def fresh_work_dir(wanted: Path) -> Iterator[Path]:
    """An empty directory for one run: ``wanted``, or ``wanted-2`` and so on while other living runs have those."""
    names = itertools.chain([wanted.name], (f"{wanted.name}-{number}" for number in itertools.count(2)))
    for directory in map(wanted.with_name, names):
        directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(directory)
        try:
            lock.acquire()
        except ConfigurationError:
            continue
        try:
            for entry in directory.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != LOCK_NAME:
                    entry.unlink()
            yield directory
        finally:
            lock.release()
        return
