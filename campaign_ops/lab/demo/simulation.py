"""Simulates platforms in use, for ``campaign-ops up``: campaigns start every few seconds, and faults are injected.

Everything random comes from one seed. Each event is reported as one line to ``say``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis
import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.lab.demo.faults import Fault, MessengerFaults, SmsFaults
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.demo.traffic import MessengerTraffic, SimulationOptions, SmsTraffic

log = logging.getLogger(__name__)

__all__ = ["Simulation", "SimulationOptions"]

_EXPECTED_ERRORS = (sa.exc.SQLAlchemyError, redis.RedisError, CampaignOpsError, OSError)


class Simulation:
    """An SMS platform and a messenger platform in use, in fast motion.

    Args:
        shop: An SMS platform with a queue.
        messenger: A messenger platform, or None.
        log_dir: Directory of the workers' logs.
        options: Rates and sizes.
        say: Receives one line per event.
    """

    def __init__(
        self,
        shop: DemoPlatform,
        messenger: DemoPlatform | None,
        log_dir: Path,
        options: SimulationOptions,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self._options = options
        self._say = say
        self.shop = SmsTraffic(shop, log_dir, options)
        self.messenger = None if messenger is None else MessengerTraffic(messenger, options)
        self._faults: list[Fault] = SmsFaults(self.shop).all
        if self.messenger is not None:
            self._faults += MessengerFaults(self.messenger).all
        self._random = self.shop.random
        self._due: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set, then stop the workers. Errors of unavailable servers are reported and retried."""
        self._attempt(self.shop.start_missing_workers)
        try:
            while not stop.wait(0.2):
                self.step()
        finally:
            self.close()

    def step(self) -> None:
        """Run every action that is due."""
        options = self._options
        if self._is_due("campaign", options.campaign_every_seconds):
            self._attempt(self.shop.start_campaign)
        if self._is_due("archive", 60):
            self._attempt(self.shop.archive)
        if self._is_due("workers", 3):
            self._attempt(self.shop.start_missing_workers)
        if self.messenger is not None:
            if self._is_due("messenger campaign", options.campaign_every_seconds * 3):
                self._attempt(self.messenger.start_campaign)
            if self._is_due("messages", 0.5):
                self._attempt(self.messenger.send_some)
            if self._is_due("messenger archive", 60):
                self._attempt(self.messenger.archive)
        if self._is_due("fault", options.fault_every_seconds):
            self.fault()

    def fault(self) -> str | None:
        """Inject one fault and return its line; None if none was possible."""
        for inject in self._random.sample(self._faults, len(self._faults)):
            line = self._attempt(inject)
            if line is not None:
                return line
        return None

    def close(self) -> None:
        """Stop the workers and close connections."""
        self.shop.close()
        if self.messenger is not None:
            self.messenger.close()

    def _is_due(self, action: str, every_seconds: float) -> bool:
        """Return true once per period, for the first time after a whole period."""
        now = time.monotonic()
        due = self._due.setdefault(action, now + every_seconds)
        if now < due:
            return False
        # Jitter, so that events are not synchronous.
        self._due[action] = now + every_seconds * self._random.uniform(0.6, 1.4)
        return True

    def _attempt(self, action: Callable[[], str | None]) -> str | None:
        try:
            line = action()
        except _EXPECTED_ERRORS as error:
            self._say(f"could not {action.__name__.replace('_', ' ')}: {str(error).splitlines()[0]}")
            return None
        if line is not None:
            self._say(line)
        return line
