"""The person on call: when the breaker holds sweeps back for a few seconds, they confirm it."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from campaign_ops.lab.drill.ledger import CONFIRMED
from campaign_ops.lab.drill.meeting import Meeting
from campaign_ops.lab.drill.presence import Presence
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


class OnCall(Presence):
    """Polls the plans of sweeps.

    A breaker that has held repairs back for three seconds is confirmed for one sweep.
    """

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.confirmed = 0
        self._held_since: float | None = None
        self._meeting = Meeting()

    def leave(self) -> None:
        """Confirm nothing more."""
        super().leave()
        self._meeting.end()

    def _pause_seconds(self) -> float:
        return _LOOK_EVERY_SECONDS

    def _act(self, platform: Platform) -> None:
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

        # Most jobs are put back by these sweeps: others are held back while Redis has just lost data or was restarted.
        with self._meeting.during(self._rig.meet_port):
            line = sweep_line(sweep)
        with (self._rig.work_dir / f"sweeps-{NAME}.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
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
