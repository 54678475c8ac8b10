"""Column lineage: the columns from which each column of an asset's table is made, back to the platform's own tables.

The queue has no columns; what comes from it alone has no lineage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.orchestration.sources import columns_by_role
from campaign_ops.profile.model import Profile

_AGE = "campaign.updated_at campaign.created_at campaign.started_at"
_STATUS = "recipient.status"
_COUNTERS = "campaign.total campaign.succeeded campaign.failed"
_EVIDENCE = (
    "stuck_campaigns.stuck_seconds recipient_status.unsent recipient_status.unknown recipient_status.last_activity"
    " recipient_status.drift queue_state.paused queue_state.workers queue_state.problem"
)
_CREDIT_EVIDENCE = "reservation.status reservation.created_at reservation.expires_at"
_COVERAGE = "recipient.id recipient.status"
_REPAIR = {name: f"repair_plan.{name}" for name in ("campaign_id", "tenant", "reason")}

_FROM: Mapping[str, Mapping[str, str]] = {
    "stuck_campaigns": {
        "campaign_id": "campaign.id",
        "tenant": "campaign.tenant",
        "name": "campaign.name",
        "status": "campaign.status",
        "updated_at": _AGE,
        "stuck_seconds": _AGE,
    },
    "recipient_status": {
        "campaign_id": "stuck_campaigns.campaign_id recipient.campaign_id",
        "total": f"recipient.id {_COUNTERS.split(maxsplit=1)[0]}",
        **dict.fromkeys(("unsent", "pending", "accepted"), f"{_STATUS} recipient.provider_id"),
        **dict.fromkeys(("succeeded", "failed", "unknown"), _STATUS),
        "last_activity": "recipient.activity",
        "drift": f"{_STATUS} {_COUNTERS}",
    },
    "repair_plan": {
        **dict.fromkeys(("kind", "verdict", "reason", "needs_person", "outcome"), f"{_EVIDENCE} {_CREDIT_EVIDENCE}"),
        "target": "recipient_status.campaign_id reservation.id",
        "campaign_id": "recipient_status.campaign_id reservation.campaign_id",
        "tenant": "stuck_campaigns.tenant reservation.tenant",
        "name": "stuck_campaigns.name",
        **dict.fromkeys(("missing", "covered", "marked", "doubled"), _COVERAGE),
        **{name: f"recipient_status.{name}" for name in ("total", "unsent", "drift")},
        "drained_per_hour": "recipient_status.unsent",
        "stuck_seconds": "stuck_campaigns.stuck_seconds",
        "amount": "reservation.amount",
    },
    "completed_campaigns": {**_REPAIR, "status_before": "campaign.status", "status_after": "repair_plan.outcome"},
    "reenqueued_batches": {**_REPAIR, "verdict": "repair_plan.verdict", "recipients": "repair_plan.missing"},
    "released_credits": {**_REPAIR, "reservation_id": "repair_plan.target", "amount": "repair_plan.amount"},
    "campaign_health": dict.fromkeys(
        ("report", "markdown"),
        "repair_plan.verdict repair_plan.reason completed_campaigns.campaign_id reenqueued_batches.job_id"
        " released_credits.amount",
    ),
}
"""By step and column, the columns behind it: of a step as in its table, of the platform's own tables by their role."""


def column_lineage(source: PlatformSource, step: str, assets: set[str]) -> dg.TableColumnLineage:
    """The lineage of a step's columns, as far as the platform has these assets and columns."""
    deps = {
        column: [
            dg.TableColumnDep(source.names.asset(asset), name)
            for asset, name in _columns(source.settings.profile, origins)
            if asset in assets
        ]
        for column, origins in _FROM.get(step, {}).items()
    }
    return dg.TableColumnLineage({column: columns for column, columns in deps.items() if columns})


def _columns(profile: Profile, origins: str) -> Iterator[tuple[str, str]]:
    for origin in origins.split():
        asset, _, role = origin.partition(".")
        own = columns_by_role(profile, asset)
        for column in [role] if own is None else own.get(role, ()):
            yield asset, column
