"""A manual fix for real: only with the code that its dry run showed, and for no more than the dry run showed.

The code is used up in a transaction of its own before the fix is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.confirmation import Confirmation, Covers, Offer, no_more
from campaign_ops.core.errors import Refused, SweepBusy
from campaign_ops.fixes.fix import Fix, Person
from campaign_ops.fixes.table import FIXES
from campaign_ops.journal.migrations import check_current, is_current
from campaign_ops.platform import Platform


@dataclass(frozen=True, slots=True)
class FixCall:
    """One manual fix as a face calls it: its name in the table, its target, the person, and their tenant."""

    name: str
    target: Any
    person: Person
    tenant: str | None = None

    def of(self, platform: Platform, *, dry_run: bool) -> Fix:
        """Make it, or say what it would do."""
        return FIXES[self.name].make(platform, self.target, self.person, tenant=self.tenant, dry_run=dry_run)

    @property
    def what(self) -> str:
        """What its code is for."""
        return f"{self.name} of {self.target}"


def try_out(platform: Platform, call: FixCall) -> tuple[Fix, Offer | None]:
    """What a fix would do, and the code that lets it do exactly that; None before ``campaign-ops migrate``.

    Raises:
        CampaignOpsError: As the fix does.
    """
    would = call.of(platform, dry_run=True)

    def _offer(connection: sa.Connection) -> Offer | None:
        if not is_current(connection):
            return None
        return platform.confirmations.offer(connection, call.what, _covers(call, would), call.person.run_id)

    return would, platform.database.run(_offer)


def make_confirmed(platform: Platform, call: FixCall, code: str) -> Fix:
    """Make a fix for real, if the code was shown for it and it would do no more than was shown.

    Raises:
        Refused: The code does not let it pass; with the numbers and a new code. Nothing was done.
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
        mend = f"it {would.message}; if that is right, the code is {fresh.code} until {fresh.expires_at:%H:%M} UTC"
        raise Refused(f"{why}; nothing was done", where=call.what, mend=mend)
    missing = would.covers.get("missing")
    bounded = replace(call, person=replace(call.person, at_most=missing if isinstance(missing, int) else None))
    try:
        return bounded.of(platform, dry_run=False)
    except SweepBusy:
        platform.database.run(lambda connection: platform.confirmations.give_back(connection, call.person.run_id))
        raise


def _covers(call: FixCall, would: Fix) -> Covers:
    """What a fix would do: its sizes, or the words where it has none; for this tenant."""
    return {"tenant": call.tenant, "fix": dict(would.covers) or {"message": would.message}}


def _changed(now: Covers, confirmed: Covers) -> str:
    """How a fix would do more than was confirmed, or something else; empty where it would not."""
    if now["tenant"] != confirmed["tenant"]:
        return "that code was given with another --tenant"
    sizes: Mapping[str, Any] = confirmed["fix"]
    changed = [
        f"{name}: {value} now, {sizes.get(name)} then"
        for name, value in now["fix"].items()
        if not no_more(value, sizes.get(name))
    ]
    return f"it is no longer what that code was given for ({', '.join(changed)})" if changed else ""
