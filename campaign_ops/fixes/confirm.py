"""The confirmation of a manual fix: it needs the code of its dry run, and does no more than the dry run showed.

The code is used up, in a transaction of its own, before the fix is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.confirmation import Confirmation, Covers, Offer, exceeds
from campaign_ops.core.errors import Refused, SweepBusy
from campaign_ops.fixes.fix import Fix, Person
from campaign_ops.fixes.table import FIXES
from campaign_ops.journal.migrations import check_current, has_records
from campaign_ops.platform import Platform


@dataclass(frozen=True, slots=True)
class FixCall:
    """One manual fix as a face calls it: its name in the table, its target, the person, and their tenant."""

    name: str
    target: Any
    person: Person
    tenant: str | None = None

    def of(self, platform: Platform, *, dry_run: bool) -> Fix:
        """Make the fix, or return what it would do."""
        return FIXES[self.name].make(platform, self.target, self.person, tenant=self.tenant, dry_run=dry_run)

    @property
    def what(self) -> str:
        """The fix and its target, as its code is bound to them."""
        return f"{self.name} of {self.target}"


def try_out(platform: Platform, call: FixCall) -> tuple[Fix, Offer | None]:
    """Return what a fix would do, and the code that confirms exactly that; None before ``campaign-ops migrate``.

    Raises:
        CampaignOpsError: As the fix does.
    """
    would = call.of(platform, dry_run=True)

    def _offer(connection: sa.Connection) -> Offer | None:
        if not has_records(connection, platform.database.where):
            return None
        return platform.confirmations.offer(connection, call.what, _covers(call, would), call.person.run_id)

    return would, platform.database.run(_offer)


def make_confirmed(platform: Platform, call: FixCall, code: str) -> Fix:
    """Make a fix, if the code was shown for it and it would do no more than was shown.

    Raises:
        Refused: The code does not cover the fix; with the numbers and a new code. Nothing was done.
        CampaignOpsError: As the fix does.
    """
    would = call.of(platform, dry_run=True)
    given = Confirmation(code, call.person.name, call.person.reason)
    covers = _covers(call, would)

    def _use(connection: sa.Connection) -> tuple[str, Offer | None]:
        check_current(connection, platform.database.where)
        log, run_id = platform.confirmations, call.person.run_id
        why, confirmed = log.look_up(connection, call.what, code, run_id)
        why = why or _changed(covers, confirmed)
        if why:
            return why, log.offer(connection, call.what, covers, run_id)
        log.use(connection, call.what, given, run_id)
        return "", None

    why, fresh = platform.database.run(_use)
    if fresh is not None:
        mend = f"it {would.message}; if that is right, confirm it with {fresh.code} until {fresh.expires_at:%H:%M} UTC"
        raise Refused(f"{why}; nothing was done", where=call.what, mend=mend)
    bounded = replace(call, person=replace(call.person, confirmed=would.covers))
    try:
        return bounded.of(platform, dry_run=False)
    except SweepBusy:
        platform.database.run(lambda connection: platform.confirmations.give_back(connection, call.person.run_id))
        raise


def _covers(call: FixCall, would: Fix) -> Covers:
    """Return what a fix would do for this tenant: its sizes, or its message if it has none."""
    return {"tenant": call.tenant, "fix": dict(would.covers) or {"message": would.message}}


def _changed(now: Covers, confirmed: Covers) -> str:
    """Return how a fix exceeds or differs from what was confirmed; empty if it does not."""
    if now["tenant"] != confirmed["tenant"]:
        return "that code was shown for another --tenant"
    changed = exceeds(now["fix"], confirmed["fix"])
    return f"the fix is no longer the one that the code was shown for ({changed})" if changed else ""
