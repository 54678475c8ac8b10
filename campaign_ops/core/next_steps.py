"""The operator's next step for each verdict: for the health report, for refusals, and for docs/states.md. Pure.

A verdict that is a cause of its own has the cause's step.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.model import Verdict
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.wording import HELD_BY, REFUSED_AGAIN

CAUSE_OF: Mapping[Verdict, Cause] = {
    Verdict.UNKNOWN_STATUS: Cause.UNKNOWN_WORD,
    Verdict.QUEUE_UNREADABLE: Cause.QUEUE_UNREADABLE,
    Verdict.QUEUE_PAUSED: Cause.QUEUE_PAUSED,
    Verdict.NO_WORKERS: Cause.NO_WORKERS,
    Verdict.QUARANTINED: Cause.QUARANTINED,
    Verdict.AMBIGUOUS: Cause.AMBIGUOUS,
}
"""The verdicts that are a cause of their own."""

_DOCTOR = "`campaign-ops doctor --platform {platform}`"
_MARK_COMPLETE = "`campaign-ops mark-complete ID --platform {platform} --reason WHY`"
_LIFT = "`campaign-ops retry-quarantined ID --platform {platform} --reason WHY`"

STEPS: Mapping[Verdict, str] = {
    **{verdict: CAUSES[cause].next_step for verdict, cause in CAUSE_OF.items()},
    Verdict.UNCOUNTED: f"{_DOCTOR} names missing indexes and ids; if the campaign is over, {_MARK_COMPLETE}",
    Verdict.IMPOSSIBLE_DATE: f"correct the value; {_MARK_COMPLETE} works even so",
    Verdict.EMPTY: "find out why it was started without recipients, and end it in the application",
    Verdict.FINISHED: f"wait for the next sweep, which completes it; {_MARK_COMPLETE} does it at once",
    Verdict.DISPUTED: f"find out which recipients got it, then {_MARK_COMPLETE}",
    Verdict.PROGRESSING: "wait: it is slow, not stuck",
    Verdict.UNCLEAR_JOBS: "look at these jobs; name them in the profile: `queue.further_jobs` or `queue.harmless_jobs`",
    Verdict.BACKLOG: "wait its turn, or add workers",
    Verdict.COOLDOWN: "wait until the cooldown is over",
    Verdict.JOBS_FAILED: "find out why the jobs failed; the next sweep puts the missing back",
    Verdict.JOBS_LOST: "wait for the next sweep, which puts the missing back",
    Verdict.STALLED: "restart the sender in the application",
}
"""``ID`` stands for the campaign, ``{platform}`` for the platform's name."""

_HELD = f"{_LIFT}, when sweeps may repair it again"
_REFUSED = "mend what the database refuses, or end it in the application"
_UNWRITABLE = "set `id_type` in the profile to what the application's own jobs carry"
_CREDITS = (
    "end or correct what the reason names; `campaign-ops release ID --platform {platform} --reason WHY` releases them"
)


def step_of(verdict: Verdict, platform: str, campaign: str = "ID") -> str:
    """The next step about a campaign with this verdict."""
    return _filled(STEPS[verdict], platform, campaign)


def next_step(item: PlanItem, platform: str, target: str | None = None) -> str:
    """The next step about one line of a plan that needs a person; ``target`` replaces the id of the line."""
    return step_about(item.verdict, item.reason, platform, target or item.target, marked=item.marked or 0)


def step_about(verdict: Verdict | None, reason: str, platform: str, target: str, *, marked: int = 0) -> str:
    """The next step about a campaign with this verdict that no sweep mends, or without verdict a reservation."""
    if REFUSED_AGAIN in reason:
        step = _REFUSED
    elif verdict is None:
        step = _CREDITS
    elif HELD_BY in reason:
        step = _HELD
    elif verdict in {Verdict.JOBS_FAILED, Verdict.JOBS_LOST}:
        step = STEPS[Verdict.AMBIGUOUS] if marked else _UNWRITABLE
    else:
        step = STEPS[verdict]
    return _filled(step, platform, target)


def _filled(step: str, platform: str, target: str) -> str:
    """The step with its blanks filled in; a target that a shell would not read as one word is quoted."""
    return step.format(platform=platform).replace(" ID ", f" {shlex.quote(target)} ")
