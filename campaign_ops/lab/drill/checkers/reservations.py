"""Credits, to the last decimal: what was held, what came, who let go of how much, and what is held for nothing now."""

from __future__ import annotations

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
    """One tenant's credits. The application's and our releases are net of what was held again."""

    start: Decimal = _ZERO
    created: Decimal = _ZERO
    released_by_application: Decimal = _ZERO
    released_by_us: Decimal = _ZERO
    released_in_journal: Decimal = _ZERO
    held: Decimal = _ZERO

    @property
    def expected(self) -> Decimal:
        """What must be held now."""
        return self.start + self.created - self.released_by_application - self.released_by_us

    def mistakes(self) -> Iterator[str]:
        """Where it does not add up."""
        if self.expected != self.held:
            yield (
                f"{self.start} at the start + {self.created} - {self.released_by_application} by the application"
                f" - {self.released_by_us} by us = {self.expected}, but {self.held} are held"
            )
        if self.released_by_us != self.released_in_journal:
            yield f"we released {self.released_by_us}, the journal says {self.released_in_journal}"


def accounts(records: Records) -> dict[str, Account]:
    """Every tenant's account."""
    found: dict[str, Account] = defaultdict(Account)
    for change in records.of("reservation"):
        for row, sign in ((change.old, -1), (change.new, 1)):
            amount = records.names.held(row) * sign
            if amount:
                _enter(records, found[records.names.text("reservation", row, "tenant")], change, amount)
    for one in records.repairs:
        if one.kind == "release" and one.undone_by is None:
            found[one.tenant or ""].released_in_journal += one.amount or _ZERO
    for row in records.rows["reservation"].values():
        found[records.names.text("reservation", row, "tenant")].held += records.names.held(row)
    return found


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
    """Per tenant: holds before - holds after = what was released, by us exactly what the journal says."""
    found = accounts(records)
    mistakes = [f"{tenant}: {line}" for tenant, account in sorted(found.items()) for line in account.mistakes()]
    what = "credits: holds before - holds after = journal, per tenant"
    ours = sum((account.released_by_us for account in found.values()), _ZERO)
    told = f"exact: {ours} released by us, {len(found)} tenants"
    found_out = f"{len(mistakes)} wrong" if mistakes else told
    return Figure("credits_exact", what, "exact", found_out, not mistakes, tuple(mistakes[:EXAMPLES]))


def leaked(records: Records) -> Figure:
    """Credits held for campaigns that are over, but for those whose release a person took back."""
    return none_of("leaked", "reservations leaked: held though their campaign is over", _leaks(records))


def _leaks(records: Records) -> Iterator[str]:
    over, names = records.profile.campaign.words.all_over, records.names
    taken_back = _taken_back(records)
    for key, row in records.rows["reservation"].items():
        campaign = records.rows["campaign"].get(names.text("reservation", row, "campaign_id"))
        word = names.text("campaign", campaign, "status")
        if names.held(row) and word in over and key not in taken_back:
            yield f"{key}: {names.held(row)} credits, its campaign is {word}"


def left_held(records: Records) -> Figure:
    """Campaigns that we completed while their credits stayed held: a crash right then would have leaked them."""
    return none_of("left_held", "completions that did not release their campaign's credits with it", _left(records))


def _left(records: Records) -> Iterator[str]:
    names, taken_back = records.names, _taken_back(records)
    changes: dict[str, list[Change]] = defaultdict(list)
    holds: dict[str, set[str]] = defaultdict(set)
    for change in records.of("reservation"):
        changes[change.key].append(change)
        holds[names.text("reservation", change.new, "campaign_id")].add(change.key)
    for done in completed_by_us(records):
        for key in sorted(holds[done.key] - taken_back):
            before = [names.held(change.new) for change in changes[key] if change.id < done.id][-1:]
            # The application may let go of it before we could lock it.
            let_go = any(
                change.txid == done.txid or (not records.is_ours(change) and change.at - done.at < LOOKING)
                for change in changes[key]
                if change.id > done.id
            )
            if any(before) and not let_go:
                yield f"{key}: {before[0]} credits stayed held when we completed {done.key} at {clock(done.at)}"


def _taken_back(records: Records) -> set[str]:
    """Reservations whose release a person took back: they stay held."""
    return {one.target for one in records.repairs if one.kind == "release" and one.undone_by is not None}


def released_too_soon(records: Records) -> Figure:
    """Credits that we released although their campaign might still need them."""
    return none_of("released_too_soon", "reservations released that their campaign may still need", _too_soon(records))


def _too_soon(records: Records) -> Iterator[str]:
    words = records.profile.campaign.words
    for change in records.of("reservation"):
        let_go = records.names.held(change.old) - records.names.held(change.new)
        if not records.is_ours(change) or let_go <= 0:
            continue
        word = change.campaign_status
        idle_or_gone = word is None or word in words.idle
        if word not in words.all_over and not (idle_or_gone and _late(records, change)):
            yield f"{change.key}: {let_go} credits at {clock(change.at)}, when its campaign was {word or 'gone'}"


def _late(records: Records, change: Change) -> bool:
    expires_at = records.names.value("reservation", change.old, "expires_at")
    created_at = records.names.value("reservation", change.old, "created_at")
    expired = expires_at is not None and expires_at <= change.at
    return bool(expired or change.at - created_at > records.policy.reservation_max_age)
