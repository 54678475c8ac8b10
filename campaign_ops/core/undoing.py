"""Which repairs can be taken back, and what that does. Defined once: every face shows it before and after a repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from campaign_ops.core.model import RepairKind


@dataclass(frozen=True, slots=True)
class Undoing:
    """Whether a kind of repair can be undone, and what an undo does or what stands against it."""

    possible: bool
    how: str

    def __str__(self) -> str:
        return f"{'can' if self.possible else 'cannot'} be undone: {self.how}"


UNDOING: Mapping[RepairKind, Undoing] = {
    RepairKind.COMPLETE: Undoing(
        True, "the campaign goes on as before, and the credits released with it are held again"
    ),
    RepairKind.REENQUEUE: Undoing(True, "jobs that no worker has taken are removed; what was sent stays sent"),
    RepairKind.RELEASE: Undoing(True, "the credits are held again"),
    RepairKind.RECOUNT: Undoing(True, "the counters go back to what they were"),
    RepairKind.LIFT: Undoing(True, "the hold or the quarantine is put back"),
    RepairKind.TAKE_AS_SENT: Undoing(
        True, "while the campaign is sending, recipients that nothing has touched since are pending and ambiguous again"
    ),
    RepairKind.SEND_AGAIN: Undoing(
        False, "messages may be out; undo its re-enqueue to remove the jobs that no worker has taken"
    ),
    RepairKind.UNDO: Undoing(False, "make the repair again"),
    RepairKind.BIND: Undoing(False, "bind the campaign table again, with the configuration of before"),
    RepairKind.CONFIRM: Undoing(False, "undo the repairs that it let pass"),
}

KIND_OF_FIX: Mapping[str, RepairKind] = {
    "mark-complete": RepairKind.COMPLETE,
    "reenqueue": RepairKind.REENQUEUE,
    "release": RepairKind.RELEASE,
    "undo": RepairKind.UNDO,
    "send-again": RepairKind.SEND_AGAIN,
    "take-as-sent": RepairKind.TAKE_AS_SENT,
    "retry-quarantined": RepairKind.LIFT,
    "bind": RepairKind.BIND,
}
"""What each fix by hand writes into the journal."""
