"""Decide whether held credits are released. Pure, like the verdicts; the guarded statement repeats the premise."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from campaign_ops.core.model import CreditDecision, Reservation, age
from campaign_ops.core.policy import Policy


def judge_reservation(
    held: Reservation, *, sending: str, over: Collection[str], known: Collection[str], policy: Policy, now: datetime
) -> CreditDecision:
    """Judge one held reservation.

    Args:
        held: The reservation and the status of its campaign, read together.
        sending: The platform's word for a campaign that is being sent.
        over: Its words for one that will never send again.
        known: Every word that its profile knows.
        policy: Thresholds.
        now: The database's clock, aware.
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
        return CreditDecision(release=True, reason=f"its campaign is over ({held.campaign_status})", leaked=True)
    state = "gone" if held.campaign_status is None else held.campaign_status
    if expired:
        return CreditDecision(release=True, reason=f"expired, and its campaign is {state}", leaked=True)
    if old:
        return CreditDecision(release=True, reason=f"older than {hours} h, and its campaign is {state}", leaked=True)
    return CreditDecision(release=False, reason=f"its campaign is {state}")
