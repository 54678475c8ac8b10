"""The person on call: sees that the breaker holds sweeps back, looks for a few seconds, and confirms it."""

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
_THINKS_SECONDS = 3.0
_YOUNG = timedelta(seconds=10)
_LOCK_WAIT_SECONDS = 5.0


class OnCall:
    """Watches the plans of sweeps, in a thread, through our own role's eyes. A context manager.

    What holds back the same kind of repair for three seconds is confirmed for one sweep.
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
        """Confirm nothing more. Returns when the sweep in hand is over."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with contextlib.closing(self._rig.connect()) as platform:
            while not self._over.wait(_LOOK_EVERY_SECONDS):
                # A server that is away: nothing to be seen, and the next look is the next try.
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
        elif now - self._held_since >= _THINKS_SECONDS:
            self._held_since = None
            self._confirm(platform)

    def _confirm(self, platform: Platform) -> None:
        self._rig.say("person: has looked at the plan, and confirms the breaker for one sweep")

        def sweep(run_id: str) -> SweepResult:
            # Before the sweep: what it does must find the word of a person already there.
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
    """What the newest plan says that the breaker holds back; nothing when there is no young plan.

    Raises:
        CampaignOpsError: The database is away.
    """
    found = platform.database.run(
        lambda connection: platform.journal.latest_step(connection, "repair_plan", younger_than=_YOUNG), read_only=True
    )
    return [] if found is None else [reason for reasons in found[1]["breakers"].values() for reason in reasons]
