"""Work directories: each belongs to one living process."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from campaign_ops.core.errors import ConfigurationError

LOCK_NAME = "lock"


class DirectoryLock:
    """Holds a directory for this process. A second process is refused; the lock of a dead one is free.

    The file names its holder. `filelock` would not do: it truncates the file before it has the lock.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the directory.

        Raises:
            ConfigurationError: A living process holds it.
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
        """Release the directory."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def fresh_work_dir(wanted: Path) -> Iterator[Path]:
    """Hold an empty directory for one run: ``wanted``, or ``wanted-2`` and so on while other runs hold those."""
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
