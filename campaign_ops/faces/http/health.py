"""Liveness and readiness, for probes: asked every few seconds, read every few seconds."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.http.pool import PlatformPool
from campaign_ops.faces.http.shapes import PlatformLine
from campaign_ops.queries.sweeps import Pulse, pulse
from campaign_ops.settings import Settings
from campaign_ops.watch.freshness import TICKS, ticks_ago

REMEMBERED_SECONDS = 5
ANSWER_SECONDS = 2
"""A database that says nothing for so long is away. Three of them, asked in turn until given up, took 41 s."""
AT_ONCE = 32


class Health:
    """The pulse of every platform, read again when it is some seconds old.

    Args:
        settings: The configuration.
        pool: The platforms.
    """

    def __init__(self, settings: Settings, pool: PlatformPool) -> None:
        self._settings, self._pool = settings, pool
        self._lock = threading.Lock()
        self._until = 0.0
        self._pulses: dict[str, Pulse] = {}
        self._asking = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pulse")
        self._asked: dict[str, Future[Pulse]] = {}

    def pulses(self) -> dict[str, Pulse]:
        """The pulse of each platform by its name."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._pulses = self._ask_all()
                self._until = time.monotonic() + REMEMBERED_SECONDS
            return self._pulses

    def _ask_all(self) -> dict[str, Pulse]:
        """Ask all platforms together; one that has not answered yet is not asked a second time."""
        for name in self._settings.names:
            if name not in self._asked:
                self._asked[name] = self._asking.submit(self._pulse, name)
        answered, _ = wait(self._asked.values(), ANSWER_SECONDS)
        silent = Pulse(database_up=False, error=f"no answer within {ANSWER_SECONDS} s")
        asked = self._asked
        self._asked = {name: future for name, future in asked.items() if future not in answered}
        return {name: future.result() if future in answered else silent for name, future in asked.items()}

    def _pulse(self, name: str) -> Pulse:
        try:
            with self._pool.reading(name) as platform:
                return pulse(platform)
        except CampaignOpsError as error:
            return Pulse(database_up=False, error=str(error))

    def lines(self) -> list[PlatformLine]:
        """Every platform in one line."""
        return [self.line(name, known) for name, known in self.pulses().items()]

    def line(self, name: str, known: Pulse) -> PlatformLine:
        """One platform in one line."""
        return {
            "platform": name,
            "status": self._status(name, known),
            "last_sweep_at": None if known.last_sweep_at is None else known.last_sweep_at.isoformat(),
            "last_sweep_age_seconds": known.age_seconds,
        }

    def _status(self, name: str, known: Pulse) -> str:
        if any(broken.name == name for broken in self._settings.broken):
            return "broken"
        if not known.database_up:
            return "away"
        if known.error:
            return "broken"
        if known.last_sweep_at is None or known.now is None:
            return "never_swept"
        oldest = ticks_ago(self._settings.platform(name).schedule, known.now, TICKS)
        return "ok" if known.last_sweep_at >= oldest else "stale"
