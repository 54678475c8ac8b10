"""Connected platforms, kept for the next request; so many of each that requests cannot flood a database."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager

from campaign_ops.core.errors import Unavailable
from campaign_ops.platform import Platform
from campaign_ops.settings import Settings, connect

AT_ONCE = 4
"""Requests that may read one platform at the same time; each may use up to three connections."""
KEPT = AT_ONCE
"""Idle ones that are kept."""
KEPT_SECONDS = 300
"""After that one is connected again: the application's tables may have changed."""
WAIT_SECONDS = 10


class PlatformPool:
    """The platforms of a configuration, with the short timeouts of sensors and scrapes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._idle: defaultdict[str, list[tuple[float, Platform]]] = defaultdict(list)
        self._free = {name: threading.BoundedSemaphore(AT_ONCE) for name in settings.names}
        self._closed = False

    @contextmanager
    def reading(self, name: str) -> Iterator[Platform]:
        """A platform for short reads.

        Raises:
            ConfigurationError: Its entry is broken.
            Unavailable: Too many requests read it already.
        """
        settings = self._settings.platform(name).in_a_hurry()
        with self.bounded(name):
            since, platform = self._take(name) or (time.monotonic(), connect(settings))
            try:
                yield platform
            except BaseException:
                platform.close()  # whatever it was, the next request starts afresh
                raise
            self._give_back(name, since, platform)

    @contextmanager
    def bounded(self, name: str) -> Iterator[None]:
        """Wait until few enough requests read a platform.

        Raises:
            Unavailable: Too many do for too long.
        """
        free = self._free[name]
        if not free.acquire(timeout=WAIT_SECONDS):
            raise Unavailable("too many requests at once", where=name, mend="try again in a few seconds")
        try:
            yield
        finally:
            free.release()

    @contextmanager
    def writing(self, name: str) -> Iterator[Platform]:
        """A platform of its own, with the timeouts of its configuration: for fixes and sweeps.

        Raises:
            ConfigurationError: Its entry is broken.
        """
        with closing(connect(self._settings.platform(name))) as platform:
            yield platform

    def _take(self, name: str) -> tuple[float, Platform] | None:
        with self._lock:
            while self._idle[name]:
                since, platform = self._idle[name].pop()
                if time.monotonic() - since < KEPT_SECONDS:
                    return since, platform
                platform.close()
        return None

    def _give_back(self, name: str, since: float, platform: Platform) -> None:
        with self._lock:
            if not self._closed and len(self._idle[name]) < KEPT:
                self._idle[name].append((since, platform))
                return
        platform.close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed after its use."""
        with self._lock:
            self._closed = True
            idle = [platform for platforms in self._idle.values() for _, platform in platforms]
            self._idle.clear()
        for platform in idle:
            platform.close()
