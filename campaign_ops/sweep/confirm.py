"""Confirmations: the repairs of a sweep that a person's code lets pass the breaker, or an alarm that it ends.

A code is checked where the repair is about to be made, against the look that it is made from. It is used up in the
same transaction that journals its use.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from campaign_ops.core.confirmation import Confirmation, Offer, beyond, covers_of, covers_of_alarm
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.report import HealthReport
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.migrations import check_current
from campaign_ops.journal.sweeps import CONFIRMED, Author
from campaign_ops.platform import Platform
from campaign_ops.sweep.orders import Orders

log = logging.getLogger(__name__)

SWEEP = "a sweep"
"""The purpose that a breaker's code is noted with."""


def orders_of(
    platform: Platform,
    author: Author,
    confirmation: Confirmation | None,
    planned: Plan,
    now: Plan,
    kinds: Sequence[RepairKind],
) -> Orders:
    """The orders for these kinds of repair. What the breaker holds back passes only with a code that covers it.

    For what does not pass, the report shows a fresh code, unless a code that this run has shown already covers it.
    """
    tripped = [kind for kind in kinds if planned.of(kind) and now.held_back(kind)]
    if not tripped:
        return Orders(planned, now)

    def _ask(connection: sa.Connection) -> Orders:
        passing, refused = _passing(platform, connection, author, confirmation, planned, now, tripped)
        if passing and confirmation is not None:
            _use(platform, connection, author, confirmation, planned, now, passing)
        held = [kind for kind in tripped if kind not in passing]
        if held and not _shown(platform, connection, author, now, held):
            platform.confirmations.offer(connection, SWEEP, covers_of(now, held), author.run_id)
        return Orders(planned, now, frozenset(passing), refused)

    return platform.database.run(_ask)


def _passing(
    platform: Platform,
    connection: sa.Connection,
    author: Author,
    confirmation: Confirmation | None,
    planned: Plan,
    now: Plan,
    tripped: Sequence[RepairKind],
) -> tuple[list[RepairKind], dict[RepairKind, str]]:
    """The kinds that the code lets pass, and for each of the others the reason why not."""
    if confirmation is None:
        return [], {}
    useless, covers = platform.confirmations.look_up(connection, SWEEP, confirmation.code, author.run_id)
    refused = {
        kind: why for kind in tripped if (why := useless or beyond(covers, kind, now.within(planned, kind), now.queue))
    }
    return [kind for kind in tripped if kind not in refused], refused


def _use(
    platform: Platform,
    connection: sa.Connection,
    author: Author,
    confirmation: Confirmation,
    planned: Plan,
    now: Plan,
    passing: Sequence[RepairKind],
) -> None:
    """Use the code up, and journal which repairs it let pass, or the alarm that it ends."""
    counts = {kind.value: len(now.within(planned, kind)) for kind in passing}
    platform.confirmations.use(connection, SWEEP, confirmation, author.run_id)
    what = ", ".join(f"{kind} {count}" for kind, count in counts.items()) or now.alarm
    entry = Entry(RepairKind.CONFIRM, confirmation.code, None, None, f"confirmed: {what}", after={"repairs": counts})
    platform.journal.record(
        connection, replace(author, actor=confirmation.by, person_reason=confirmation.reason), [entry]
    )
    earlier = platform.sweeps.figures(connection, author.sweep_id).get(CONFIRMED, {}).get("kinds", [])
    kinds = sorted({*earlier, *(kind.value for kind in passing)})
    figures = {
        CONFIRMED: {"by": confirmation.by, "reason": confirmation.reason, "code": confirmation.code, "kinds": kinds}
    }
    platform.sweeps.add_figures(connection, author.sweep_id, figures)


def _shown(
    platform: Platform, connection: sa.Connection, author: Author, now: Plan, held: Sequence[RepairKind]
) -> bool:
    """Return whether a code that this run has already shown covers all of this."""
    shown = platform.confirmations.open_offers(connection, author.run_id)
    return any(not any(beyond(covers, kind, now.of(kind), now.queue) for kind in held) for _, covers in shown)


def offer_for(platform: Platform, plan: Plan, run_id: str) -> tuple[Offer | None, str]:
    """A code for what the breakers of a plan hold back, or else for the alarm about its queue; or why there is none.

    Never raises: plans are shown anyway.
    """
    tripped = plan.tripped()
    if not tripped and not plan.alarm:
        return None, ""

    def _offer(connection: sa.Connection) -> Offer:
        check_current(connection, platform.database.where)
        covers = covers_of(plan, tripped) if tripped else covers_of_alarm(plan)
        return platform.confirmations.offer(connection, SWEEP, covers, run_id)

    try:
        return platform.database.run(_offer), ""
    except CampaignOpsError as error:
        return None, f"no code to confirm it with could be noted: {error}"


def confirm_queue(platform: Platform, author: Author, confirmation: Confirmation, plan: Plan) -> None:
    """Believe an emptied queue as it is from now on, where this is what a person's code was shown for.

    Without it the alarm could not be ended while nothing was held back: an incident stayed open for days.
    """
    sightings = platform.sightings
    if not plan.alarm_alone or sightings is None:
        return

    def _confirm(connection: sa.Connection) -> str:
        useless, covers = platform.confirmations.look_up(connection, SWEEP, confirmation.code, author.run_id)
        if useless or covers != covers_of_alarm(plan):
            return useless or "that code was not given for the queue as it is now"
        _use(platform, connection, author, confirmation, plan, plan, [])
        sightings.trust(connection, to_re_enqueue=False)
        return ""

    if refused := platform.database.run(_confirm):
        log.warning("%s: the alarm about the queue was not confirmed: %s", platform.name, refused)


def confirmation(report: HealthReport, by: str, reason: str) -> Confirmation | None:
    """The confirmation of all that a dry run shows; None where nothing waits for one."""
    return Confirmation(report.offers[0].code, by, reason) if report.offers else None
