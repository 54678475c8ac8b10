"""Decide whether held credits are released. Pure, like the verdicts; the guarded statement repeats the premise."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from campaign_ops.core.model import CreditDecision, Reservation, age
from campaign_ops.core.policy import Policy
from campaign_ops.core.wording import duration


def judge_reservation(
    held: Reservation,
    *,
    sending: str,
    over: Collection[str],
    known: Collection[str],
    policy: Policy,
    now: datetime,
    by_person: bool = False,
) -> CreditDecision:
    """Judge one held reservation.

    Args:
        held: The reservation and the status of its campaign, read together.
        sending: The platform's word for a campaign that is being sent.
        over: Its words for one that will never send again.
        known: Every word that its profile knows.
        policy: Thresholds.
        now: The database's clock, aware.
        by_person: A person releases it: once its campaign is over, whenever that was.
    """
    expired = held.expires_at is not None and held.expires_at <= now
    old = held.created_at is not None and age(held.created_at, now) > policy.reservation_max_age
    hours = policy.reservation_max_age_seconds // 3600
    if held.impossible:
        reason = f"{held.impossible}, which cannot be; correct the value"
        return CreditDecision(release=False, reason=reason, needs_person=True)
    if held.campaign_status == sending:
        late = "expired" if expired else f"older than {hours} h" if old else ""
        if late:
            return CreditDecision(
                release=False, reason=f"{late}, held: its campaign is still sending", needs_person=True
            )
        return CreditDecision(release=False, reason="its campaign is sending")
    if held.release_undone:
        return CreditDecision(release=False, reason="a person undid its release", needs_person=True)
    if held.campaign_status is not None and held.campaign_status not in known:
        reason = f"campaign status {held.campaign_status!r} is not in the profile"
        return CreditDecision(release=False, reason=reason, needs_person=True)
    if held.campaign_status in over:
        recent = _recent_change(held, policy, now)
        reason = f"its campaign is over ({held.campaign_status})"
        if not recent:
            return CreditDecision(release=True, reason=reason, leaked=True)
        late = f"older than {hours} h; " if old else ""
        return CreditDecision(release=by_person, reason=f"{late}{reason}{recent}", needs_person=old)
    state = "gone" if held.campaign_status is None else held.campaign_status
    if expired:
        return CreditDecision(release=True, reason=f"expired, and its campaign is {state}", leaked=True)
    if old:
        return CreditDecision(release=True, reason=f"older than {hours} h, and its campaign is {state}", leaked=True)
    return CreditDecision(release=False, reason=f"its campaign is {state}")


def _recent_change(held: Reservation, policy: Policy, now: datetime) -> str:
    """Say which changed within ``stuck_after``, the campaign or the hold: the application may still settle it.

    An application that ends a campaign in one transaction and settles its hold in the next one found the hold released
    by a sweep between the two: what was sent cost nothing.
    """
    for what, moment in (("touched", held.campaign_updated_at), ("credits reserved", held.created_at)):
        if moment is not None and age(moment, now) <= policy.stuck_after:
            ago = duration(int(age(moment, now).total_seconds()))
            return f", {what} {ago} ago: sweeps leave it alone for {duration(policy.stuck_after_seconds)}"
    return ""
