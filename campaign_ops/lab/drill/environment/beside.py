"""The second platform of a drill, in the worlds that have one: a database, a ledger and an application of its own.

Its sweeper is one of the workforce. To the checkers it is a platform like the first.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.drill.counters import CountersApplication
from campaign_ops.lab.drill.environment.environment import BESIDE, OPS_ROLE
from campaign_ops.lab.drill.faults.base import RepeatedAction
from campaign_ops.lab.drill.ledger import Ledger
from campaign_ops.platform import Platform
from campaign_ops.settings import connect, load_settings

_STEP_EVERY_SECONDS = 0.1


class Beside:
    """The second platform. A context manager: its application works until the exit.

    Args:
        platform: The platform as its owner sees it.
        work_dir: The drill's directory; it gets one of its own there.
        config: The deployment's configuration file.
    """

    servers = None
    """The server's log is read for the first platform: it is the same."""

    def __init__(self, platform: DemoPlatform, work_dir: Path, config: Path) -> None:
        self.work_dir = work_dir / BESIDE
        self.work_dir.mkdir()
        self._config = config
        options = {"connect_timeout": 3, "options": "-c lock_timeout=2000", "application_name": "drill beside"}
        engine = sa.create_engine(platform.database_url, pool_pre_ping=True, connect_args=options)
        self.ledger = Ledger(engine, OPS_ROLE, platform.profile)
        self.ledger.install()
        stuck_after = float(platform.thresholds["stuck_after_seconds"])
        self.application = CountersApplication(self.ledger, platform.shape, stuck_after_seconds=stuck_after)
        self._work = RepeatedAction(self.application.step, _STEP_EVERY_SECONDS)

    def __enter__(self) -> Self:
        """Let the application work."""
        self._work.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the application."""
        self._work.stop()
        self.ledger.engine.dispose()

    def connect(self) -> Platform:
        """The platform as campaign_ops sees it, under its role. The caller closes it."""
        return connect(load_settings(self._config).platform(BESIDE))
