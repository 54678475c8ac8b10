"""The one table of manual fixes, by the name that the command line, Dagster and the confirmations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from campaign_ops.core.model import RepairKind
from campaign_ops.core.undoing import UNDOING, Undoing
from campaign_ops.fixes.ambiguous import send_again, take_as_sent
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Fix
from campaign_ops.fixes.rebind import rebind
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.fixes.release import release_one
from campaign_ops.fixes.retry import retry_quarantined
from campaign_ops.fixes.undo import undo


@dataclass(frozen=True, slots=True)
class ManualFix:
    """One manual fix, and the kind of repair that it writes into the journal.

    ``make`` takes the platform, the target, the person, ``tenant`` and ``dry_run``.
    """

    make: Callable[..., Fix]
    kind: RepairKind

    @property
    def undoing(self) -> Undoing:
        """Return whether it can be undone, and how."""
        return UNDOING[self.kind]


FIXES: Mapping[str, ManualFix] = {
    "mark-complete": ManualFix(mark_complete, RepairKind.COMPLETE),
    "reenqueue": ManualFix(reenqueue_one, RepairKind.REENQUEUE),
    "release": ManualFix(release_one, RepairKind.RELEASE),
    "undo": ManualFix(undo, RepairKind.UNDO),
    "send-again": ManualFix(send_again, RepairKind.SEND_AGAIN),
    "take-as-sent": ManualFix(take_as_sent, RepairKind.TAKE_AS_SENT),
    "retry-quarantined": ManualFix(retry_quarantined, RepairKind.LIFT),
    "bind": ManualFix(rebind, RepairKind.BIND),
}
