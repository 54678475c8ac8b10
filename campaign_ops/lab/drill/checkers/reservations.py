"""Figures about credits, to the last decimal: held, created, released and by which side, leaked."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from campaign_ops.lab.drill.checkers.figure import EXAMPLES, Figure, none_of
from campaign_ops.lab.drill.checkers.records import Records
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.checkers.safety import LOOKING
from campaign_ops.lab.drill.checkers.sending import completed_by_us
from campaign_ops.lab.drill.ledger import Change

_ZERO = Decimal(0)


@dataclass(slots=True)
class Account:
    """One tenant's credits. Releases are net of credits that were held again."""

    start: Decimal = _ZERO
    created: Decimal = _ZERO
    released_by_application: Decimal = _ZERO
    released_by_us: Decimal = _ZERO
    released_in_journal: Decimal = _ZERO
    held: Decimal = _ZERO

    @property
    def expected(self) -> Decimal:
        """The credits that must be held now."""
        return self.start + self.created - self.released_by_application - self.released_by_us

    def mistakes(self) -> Iterator[str]:
        """Lines that say where it does not add up."""
        if self.expected != self.held:
            yield (
                f"{self.start} at the start + {self.created} - {self.released_by_application} by the application"
                f" - {self.released_by_us} by campaign_ops = {self.expected}, but {self.held} are held"
            )
        if self.released_by_us != self.released_in_journal:
            yield f"campaign_ops released {self.released_by_us}, the journal says {self.released_in_journal}"


def accounts(records: Records) -> dict[str, Account]:
    """The account of each tenant."""
    by_tenant: dict[str, Account] = defaultdict(Account)
    for change in records.of("reservation"):
        for row, sign in ((change.old, -1), (change.new, 1)):
            amount = records.names.held(row) * sign
            if amount:
                _enter(records, by_tenant[records.names.text("reservation", row, "tenant")], change, amount)
    for repair in records.repairs:
        if repair.kind == "release" and repair.undone_by is None:
            by_tenant[repair.tenant or ""].released_in_journal += repair.amount or _ZERO
    for row in records.rows["reservation"].values():
        by_tenant[records.names.text("reservation", row, "tenant")].held += records.names.held(row)
    return by_tenant


def _enter(records: Records, account: Account, change: Change, amount: Decimal) -> None:
    if not change.role:
        account.start += amount
    elif records.is_ours(change):
        account.released_by_us -= amount
    elif change.old is None:
        account.created += amount
    else:
        account.released_by_application -= amount


def credits_exact(records: Records) -> Figure:
    """Per tenant: holds before - holds after = released, and our releases are exactly those of the journal."""
    by_tenant = accounts(records)
    mistakes = [f"{tenant}: {line}" for tenant, account in sorted(by_tenant.items()) for line in account.mistakes()]
    what = "credits: holds before - holds after = journal, per tenant"
    ours = sum((account.released_by_us for account in by_tenant.values()), _ZERO)
    found = f"{len(mistakes)} wrong" if mistakes else f"exact: {ours} released by us, {len(by_tenant)} tenants"
    return Figure("credits_exact", what, "exact", found, not mistakes, tuple(mistakes[:EXAMPLES]))


def leaked(records: Records) -> Figure:
    """Credits held for campaigns that are over, except those whose release a person has undone."""
    return none_of("leaked", "reservations still held although their campaign is over", _leaks(records))


def _leaks(records: Records) -> Iterator[str]:
    over, names = records.profile.campaign.words.all_over, records.names
    undone = _undone(records)
    for key, row in records.rows["reservation"].items():
        campaign = records.rows["campaign"].get(names.text("reservation", row, "campaign_id"))
        word = names.text("campaign", campaign, "status")
        if names.held(row) and word in over and key not in undone:
            yield f"{key}: {names.held(row)} credits, its campaign is {word}"


def left_held(records: Records) -> Figure:
    """Campaigns that we completed while their credits stayed held: a crash at that moment would have leaked them."""
    return none_of("left_held", "completions that left their campaign's credits held", _left(records))


def _left(records: Records) -> Iterator[str]:
    names, undone = records.names, _undone(records)
    changes: dict[str, list[Change]] = defaultdict(list)
    holds: dict[str, set[str]] = defaultdict(set)
    for change in records.of("reservation"):
        changes[change.key].append(change)
        holds[names.text("reservation", change.new, "campaign_id")].add(change.key)
    for completion in completed_by_us(records):
        for key in sorted(holds[completion.key] - undone):
            before = [names.held(change.new) for change in changes[key] if change.id < completion.id][-1:]
            # The application may release it before we can lock it.
            released = any(
                change.txid == completion.txid or (not records.is_ours(change) and change.at - completion.at < LOOKING)
                for change in changes[key]
                if change.id > completion.id
            )
            if any(before) and not released:
                when = clock(completion.at)
                yield f"{key}: {before[0]} credits stayed held when we completed {completion.key} at {when}"


def _undone(records: Records) -> set[str]:
    """Reservations whose release a person has undone: they stay held."""
    return {repair.target for repair in records.repairs if repair.kind == "release" and repair.undone_by is not None}


def released_too_soon(records: Records) -> Figure:
    """Credits that we released although their campaign might still need them."""
    violations = itertools.chain(_too_soon(records), _unsettled(records))
    return none_of("released_too_soon", "reservations released that their campaign may still need", violations)


def _too_soon(records: Records) -> Iterator[str]:
    words = records.profile.campaign.words
    for change in records.of("reservation"):
        released = records.names.held(change.old) - records.names.held(change.new)
        if not records.is_ours(change) or released <= 0:
            continue
        word = change.campaign_status
        idle_or_gone = word is None or word in words.idle
        if word not in words.all_over and not (idle_or_gone and _late(records, change)):
            yield f"{change.key}: {released} credits at {clock(change.at)}, when its campaign was {word or 'gone'}"


def _unsettled(records: Records) -> Iterator[str]:
    """Releases by sweeps, except with a completion, so soon after a campaign's end that it may still be settled."""
    names, over = records.names, records.profile.campaign.words.all_over
    for repair in records.by_sweeps("release"):
        written = records.journaled.get(repair.id)
        if repair.parent_id is not None or written is None:
            continue
        changes = records.change_of.get((written.txid, "reservation", repair.target), ())
        touched = [names.value("campaign", written.campaign, "updated_at")]
        touched += [names.value("reservation", change.old, "created_at") for change in changes]
        ages = [written.at - moment for moment in touched if moment is not None]
        latest = min(ages, default=records.policy.stuck_after)
        if names.text("campaign", written.campaign, "status") in over and latest < records.policy.stuck_after:
            after = f"{latest.total_seconds():.2f} s after a change"
            yield f"{repair.target}: {repair.amount} credits at {clock(written.at)}, {after}"


def _late(records: Records, change: Change) -> bool:
    expires_at = records.names.value("reservation", change.old, "expires_at")
    created_at = records.names.value("reservation", change.old, "created_at")
    expired = expires_at is not None and expires_at <= change.at
    return bool(expired or change.at - created_at > records.policy.reservation_max_age)
