"""The person on call: when the breaker holds sweeps back for a few seconds, they confirm it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.lab.drill.ledger import CONFIRMED
from campaign_ops.lab.drill.sweep_loop import SweepResult, sweep_line
from campaign_ops.sweep import Sweep, dry_run
from campaign_ops.sweep.confirm import confirmation

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig
    from campaign_ops.platform import Platform

NAME = "person"
_LOOK_EVERY_SECONDS = 1.0
_CONFIRM_AFTER_SECONDS = 3.0
_RECENT = timedelta(seconds=10)
_LOCK_WAIT_SECONDS = 5.0


class OnCall:
    """Polls the plans of sweeps in a thread, under our own role. A context manager.

    A breaker that has held repairs back for three seconds is confirmed for one sweep.
    """

    def __init__(self, rig: Rig) -> None:
        self.confirmed = 0
        self._rig = rig
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._held_since: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Stop confirming. Returns when the current sweep is over."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with contextlib.closing(self._rig.connect()) as platform:
            while not self._over.wait(_LOOK_EVERY_SECONDS):
                # A server is unavailable: the next poll tries again.
                with contextlib.suppress(CampaignOpsError, sa.exc.SQLAlchemyError, OSError):
                    self._look(platform)

    def _look(self, platform: Platform) -> None:
        reasons = held_back(platform)
        now = time.monotonic()
        if not reasons:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = now
            self._rig.say(f"the breaker holds back: {'; '.join(reasons)}")
        elif now - self._held_since >= _CONFIRM_AFTER_SECONDS:
            self._held_since = None
            self._confirm(platform)

    def _confirm(self, platform: Platform) -> None:
        self._rig.say("person: confirms the breaker for one sweep, after reading the plan")

        def sweep(run_id: str) -> SweepResult:
            # Before the sweep: the confirmation must be recorded before anything that it allows.
            self._rig.ledger.note(CONFIRMED, run_id)
            code = confirmation(dry_run(platform, run_id=f"{run_id}-plan"), NAME, "looked at the plan")
            report = Sweep(
                platform,
                run_id=run_id,
                trigger=NAME,
                actor=NAME,
                confirm=code,
                lock_wait_seconds=_LOCK_WAIT_SECONDS,
            ).run()
            return SweepResult.of(report)

        with (self._rig.work_dir / f"sweeps-{NAME}.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(sweep_line(sweep)) + "\n")
        self.confirmed += 1


def held_back(platform: Platform) -> list[str]:
    """The reasons why the breaker holds repairs back in the newest plan; empty if there is no recent plan.

    Raises:
        CampaignOpsError: The database is unavailable.
    """
    step = platform.database.run(
        lambda connection: platform.sweeps.latest_step(connection, "repair_plan", younger_than=_RECENT), read_only=True
    )
    return [] if step is None else [reason for reasons in step[1]["breakers"].values() for reason in reasons]
