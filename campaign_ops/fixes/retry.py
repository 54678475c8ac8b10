"""Lift the quarantine or the hold of one campaign, so that sweeps repair it again."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import Attempts, RepairKind
from campaign_ops.core.wording import plural
from campaign_ops.fixes.fix import Fix, Person, already_made, author_of, locked
from campaign_ops.fixes.target import find_campaign
from campaign_ops.journal.journal import Entry
from campaign_ops.platform import Platform


def retry_quarantined(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Let sweeps repair a campaign again that is quarantined or held.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is neither quarantined nor held.
    """
    campaign = find_campaign(platform, campaign_id, tenant)
    campaign_id = campaign.id
    where = f"campaign {campaign_id}"

    def _attempts(connection: sa.Connection) -> str | None:
        found = platform.attempts.of(connection, [campaign_id]).get(campaign_id)
        if found is None:
            return None
        if found.held_by:
            return f"held by {found.held_by}: {found.held_reason}"
        if found.without_progress >= platform.policy.max_attempts:
            return f"{plural(found.without_progress, 're-enqueue')} without progress"
        return None

    def _write(connection: sa.Connection) -> list[int]:
        author = author_of(platform, connection, person)
        held = platform.attempts.of(connection, [campaign_id]).get(campaign_id, Attempts())
        if not platform.attempts.let_go(connection, campaign_id):
            return []
        before = {name: getattr(held, name) for name in ("held_by", "held_reason", "without_progress")}
        entry = Entry(RepairKind.LIFT, campaign_id, campaign_id, campaign.tenant, why or "", before=before)
        return platform.journal.record(connection, author, [entry])

    with locked(platform):  # never in the middle of a sweep
        why = platform.on_state(_attempts)
        if why is None:
            raise Refused("it is neither quarantined nor held", where=where)
        if dry_run:
            return Fix(campaign_id, False, f"would let sweeps repair campaign {campaign_id} again ({why})")
        repair_ids = platform.database.run(_write) or already_made(platform, person, RepairKind.LIFT, campaign_id)
    if not repair_ids:
        raise Refused("it was lifted by another process at the same time", where=where)
    return Fix(campaign_id, True, f"sweeps will repair campaign {campaign_id} again ({why})", tuple(repair_ids))
