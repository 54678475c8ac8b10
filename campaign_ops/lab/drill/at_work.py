"""People at work: manual fixes and undos while sweeps, the application and the faults go on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import sqlalchemy as sa

from campaign_ops.fixes.ambiguous import send_again
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.fixes.release import release_one
from campaign_ops.fixes.retry import retry_quarantined
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.drill.presence import Presence

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig
    from campaign_ops.platform import Platform

NAME = "operator"
_EVERY_SECONDS = (1.0, 3.0)
_PLANNED = "SELECT target FROM campaign_ops.repair_plan WHERE verdict"
_REPAIRS = "SELECT id FROM campaign_ops.repair WHERE undone_by IS NULL AND kind IN ('complete', 'reenqueue', 'release')"
_TARGETS: dict[str, str] = {
    "complete": f"{_PLANNED} IN ('finished', 'backlog', 'progressing')",
    "reenqueue": f"{_PLANNED} IN ('jobs_lost', 'jobs_failed', 'cooldown')",
    "release": f"{_PLANNED} IS NULL",
    "send_again": "SELECT DISTINCT campaign_id FROM campaign_ops.ambiguous WHERE decided_at IS NULL",
    "lift": "SELECT campaign_id FROM campaign_ops.attempt WHERE held_by IS NOT NULL",
    "undo": f"{_REPAIRS} AND at > now() - interval '10 seconds'",
}
"""What a person finds to do, by the kind of fix."""
_WEIGHTS = {"complete": 2, "reenqueue": 2, "release": 1, "send_again": 1, "lift": 2, "undo": 1}


class AtWork(Presence):
    """Makes a fix every few seconds.

    Attributes:
        made: How many fixes of each kind were made; others were refused.
    """

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.made: Counter[str] = Counter()
        self._rng = random.Random(f"{rig.options.seed} at work")

    def __str__(self) -> str:
        """The fixes that were made, in words."""
        return ", ".join(f"{number} x {kind}" for kind, number in self.made.most_common()) or "nothing"

    def _pause_seconds(self) -> float:
        return self._rng.uniform(*_EVERY_SECONDS)

    def _act(self, platform: Platform) -> None:
        (kind,) = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        self.fix(platform, kind)

    def fix(self, platform: Platform, kind: str) -> bool:
        """Make one fix of this kind; return whether there was anything to fix.

        Raises:
            CampaignOpsError: It was refused, or a server is unavailable.
        """
        with self._rig.owner.connect() as connection:
            targets = sorted(map(str, connection.scalars(sa.text(_TARGETS[kind]))))
        if not targets:
            return False
        person = Person(NAME, "looked into it", f"{NAME}-{uuid4()}", "drill")
        _FIXES[kind](platform, self._rng.choice(targets), person)
        self.made[kind] += 1
        return True


def _undo(platform: Platform, repair_id: str, person: Person) -> object:
    return undo(platform, int(repair_id), person)


_FIXES: dict[str, Callable[..., object]] = {
    "complete": mark_complete,
    "reenqueue": reenqueue_one,
    "release": release_one,
    "send_again": send_again,
    "lift": retry_quarantined,
    "undo": _undo,
}
