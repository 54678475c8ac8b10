"""Which repairs can be undone, and how: the one table that the undo itself, every face and the docs use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from campaign_ops.core.model import RepairKind


class Restores(StrEnum):
    """What the undo of a repair puts back."""

    ROWS = "rows"
    """The rows of the application that the repair changed, from the journal."""
    RECIPIENTS = "recipients"
    """The statuses of recipients, one by one."""
    HOLD = "hold"
    """Our own hold or quarantine of a campaign."""
    QUEUE = "queue"
    """The queue: the repair's jobs are removed."""
    NOTHING = "nothing"
    """Nothing: the repair cannot be undone."""


@dataclass(frozen=True, slots=True)
class Undoing:
    """What the undo of one kind of repair restores, and in words how, or why there is none."""

    restores: Restores
    how: str

    @property
    def possible(self) -> bool:
        """Return whether this kind of repair can be undone."""
        return self.restores is not Restores.NOTHING

    def __str__(self) -> str:
        return f"{'can' if self.possible else 'cannot'} be undone: {self.how}"


UNDOING: Mapping[RepairKind, Undoing] = {
    RepairKind.COMPLETE: Undoing(
        Restores.ROWS, "the campaign goes on as before, and the credits released with it are held again"
    ),
    RepairKind.REENQUEUE: Undoing(
        Restores.QUEUE, "jobs that no worker has taken are removed; what was sent stays sent"
    ),
    RepairKind.RELEASE: Undoing(Restores.ROWS, "the credits are held again"),
    RepairKind.RECOUNT: Undoing(Restores.ROWS, "the counters go back to what they were"),
    RepairKind.LIFT: Undoing(Restores.HOLD, "the hold or the quarantine is put back"),
    RepairKind.TAKE_AS_SENT: Undoing(
        Restores.RECIPIENTS,
        "while the campaign is sending, recipients that nothing has touched since are pending and ambiguous again",
    ),
    RepairKind.SEND_AGAIN: Undoing(
        Restores.NOTHING, "messages may be out; undo its re-enqueue to remove the jobs that no worker has taken"
    ),
    RepairKind.UNDO: Undoing(Restores.NOTHING, "make the repair again"),
    RepairKind.BIND: Undoing(Restores.NOTHING, "bind the campaign table again, with the configuration of before"),
    RepairKind.CONFIRM: Undoing(Restores.NOTHING, "undo the repairs that it let pass"),
}

_ALWAYS_JOURNALED = (Restores.ROWS, Restores.QUEUE)  # the first versions did not journal what the others restore


def why_not(repair: Mapping[str, Any]) -> str:
    """Return why a repair of the journal cannot be undone; empty if it can, as far as the journal shows."""
    undoing = UNDOING[RepairKind(repair["kind"])]
    if repair["undone_by"] is not None:
        return f"it was undone already, by repair {repair['undone_by']}"
    if not undoing.possible:
        return f"a repair of kind {repair['kind']} {undoing}"
    if undoing.restores not in _ALWAYS_JOURNALED and not repair["before"]:
        return "an older version made it and did not note what was there before"
    return ""
