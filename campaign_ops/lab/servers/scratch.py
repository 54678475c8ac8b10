"""This process's scratch directory under the temporary one, and the removal of what dead processes left in theirs.

It holds what other users and unix sockets must reach (a server's data and sockets) and notes of the children. Its lock
lives exactly as long as the process: a directory whose lock is free is left over.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.servers.waiting import wait_until

PREFIX = "campaign-ops-"
# sun_path holds 108 bytes. Our directory is followed by `/postgres-XXXXXXXX/sockets/.s.PGSQL.65535`.
_LONGEST_PATH = 60
_LOCK = "lock"
_CHILD_SUFFIX = ".child"
_PATIENCE_SECONDS = 10

_mine: dict[int, tuple[Path, int]] = {}
"""The directory and the lock's file descriptor by process id: a forked child does not own its parent's."""
_one_at_a_time = threading.Lock()


def scratch() -> Path:
    """Return this process's directory. The first call makes it and removes leftovers; it is removed at exit.

    Raises:
        ConfigurationError: No temporary directory is open to other users and short enough for a socket's path.
    """
    pid = os.getpid()
    with _one_at_a_time:
        if pid not in _mine:
            roots = list(_roots())
            if not roots:
                raise ConfigurationError(
                    "no temporary directory is open to other users, allows programs and has a path shorter than"
                    f" {_LONGEST_PATH} bytes",
                    where=tempfile.gettempdir(),
                    mend="set TMPDIR to one like /tmp",
                )
            remove_leftovers(roots)
            _mine[pid] = _make(roots[0])
            atexit.register(_remove_mine, pid)
        return _mine[pid][0]


def remember_child(pid: int, stop_signal: signal.Signals) -> Path:
    """Note a child, so that the next process ends it if this one dies without doing so; return the note's path."""
    note = scratch() / f"{pid}{_CHILD_SUFFIX}"
    with contextlib.suppress(psutil.NoSuchProcess):
        # A pid alone is not enough: after a reboot it may be another process's.
        note.write_text(f"{pid} {psutil.Process(pid).create_time()} {int(stop_signal)}\n")
    return note


def remove_leftovers(roots: Iterable[Path]) -> None:
    """End the children of dead processes and remove their directories. Those of living ones are left alone."""
    for directory in (path for root in roots for path in root.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            ours = not directory.is_symlink() and directory.is_dir() and directory.stat().st_uid == os.geteuid()
            if not ours:
                continue
            # A missing lock file raises: the directory is being made at this moment, or is not one of these.
            lock = _open_locked(directory / _LOCK)
            try:
                _end_children(directory)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)


def _roots() -> Iterator[Path]:
    """Yield the temporary directories that can be used, the configured one first."""
    for path in dict.fromkeys(Path(name).resolve() for name in (tempfile.gettempdir(), "/tmp", "/var/tmp")):
        open_to_others = path.is_dir() and all(step.stat().st_mode & 0o001 for step in [path, *path.parents])
        if os.geteuid() == 0 and not (open_to_others and not os.statvfs(path).f_flag & os.ST_NOEXEC):
            continue
        if path.is_dir() and os.access(path, os.W_OK | os.X_OK) and len(os.fsencode(path)) < _LONGEST_PATH:
            yield path


def _make(root: Path) -> tuple[Path, int]:
    """Make a directory whose lock we hold before it gets its name: no other process can take it first."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    unnamed = directory / f"{_LOCK}.new"
    unnamed.touch(mode=0o600)
    lock = _open_locked(unnamed)
    unnamed.rename(directory / _LOCK)
    directory.chmod(0o711)
    return directory, lock


def _open_locked(path: Path) -> int:
    """Open a lock file and take its lock.

    Raises:
        BlockingIOError: A living process holds it.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_mine(pid: int) -> None:
    if os.getpid() == pid:  # a forked child inherits the hook
        directory, lock = _mine.pop(pid)
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _end_children(directory: Path) -> None:
    left = []
    for note in directory.glob(f"*{_CHILD_SUFFIX}"):
        with contextlib.suppress(ValueError, OSError, psutil.Error):
            pid, born, stop_signal = note.read_text().split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(born)) < 0.1:
                process.send_signal(int(stop_signal))
                left.append(process)
    wait_until(lambda: not any(map(alive, left)), seconds=_PATIENCE_SECONDS)
    for process in left:
        kill_tree(process)


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = process.children(recursive=True)
        process.kill()
        end_orphans(family)


def end_orphans(family: Sequence[psutil.Process]) -> None:
    """Kill those that do not end by themselves once their parent is gone."""
    # PostgreSQL's backends do, and must, before it can start again.
    wait_until(lambda: not any(map(alive, family)), seconds=3, poll_seconds=0.01)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    wait_until(lambda: not any(map(alive, family)), seconds=3, poll_seconds=0.01)


def alive(process: psutil.Process) -> bool:
    """Return whether a process runs.

    A zombie does not. `psutil.wait_procs` would wait for it, and process 1 may be slow to reap orphans.
    """
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
