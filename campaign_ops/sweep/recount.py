"""Recount: raise a campaign's counters to what its rows say."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import completion
from campaign_ops.sweep.guarded import Written, campaign_entries, lock_stuck, write_locked


def recount_page(platform: Platform, author: Author, connection: sa.Connection, page: Sequence[PlanItem]) -> Written:
    """Raise the counters of those of the page that are still stuck and behind their rows."""
    before = lock_stuck(platform, connection, page)
    statement = completion.recount(platform.tables(connection))
    sending, counters = {platform.profile.campaign.words.sending}, completion.COUNTER_KEYS
    after = write_locked(platform, connection, statement, before, into=sending, changes=counters)
    entries = campaign_entries(RepairKind.RECOUNT, page, before, after)
    return entries, platform.journal.record(connection, author, entries)
