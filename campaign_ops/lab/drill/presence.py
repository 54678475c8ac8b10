"""A person beside the sweeps: does something now and then, in a thread, under our own role."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig
    from campaign_ops.platform import Platform


class Presence(ABC):
    """Acts until it leaves. A context manager. An act that fails, as while a server is unavailable, is dropped."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Do nothing more. Returns when the current act is over."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        with contextlib.closing(self._rig.connect()) as platform:
            while not self._over.wait(self._pause_seconds()):
                with contextlib.suppress(CampaignOpsError, sa.exc.SQLAlchemyError, OSError):
                    self._act(platform)

    @abstractmethod
    def _pause_seconds(self) -> float:
        """Return how long to wait before the next act."""

    @abstractmethod
    def _act(self, platform: Platform) -> None:
        """Do one thing."""
