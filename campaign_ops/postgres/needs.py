"""The columns that a profile names, with what each must be able to hold. Grants and the catalogue's check follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from campaign_ops.profile.model import Profile
from campaign_ops.profile.tables import CampaignWords, RecipientWords


@dataclass(frozen=True, slots=True)
class Need:
    """One column that the profile names: the kind of value it must hold, and whether a sweep writes it."""

    role: str
    table: str
    column: str
    kind: str
    words: tuple[str, ...] = ()
    written: bool = False


def needs(profile: Profile) -> Iterator[Need]:
    """Every column that the profile names, with what it must hold."""
    table = profile.campaign.table
    words = profile.campaign.words
    yield Need("campaign.id", table, profile.campaign.id, "id")
    yield Need("campaign.tenant", table, profile.campaign.tenant, "any")
    yield Need("campaign.name", table, profile.campaign.name, "any")
    yield Need("campaign.status", table, profile.campaign.status, "word", _required(words), written=True)
    yield Need("campaign.updated_at", table, profile.campaign.updated_at, "moment", written=True)
    if profile.campaign.created_at:
        yield Need("campaign.created_at", table, profile.campaign.created_at, "moment")
    if profile.campaign.started_at:
        yield Need("campaign.started_at", table, profile.campaign.started_at, "moment")
    if profile.campaign.completed_at:
        yield Need("campaign.completed_at", table, profile.campaign.completed_at, "moment", written=True)
    if counters := profile.campaign.counters:
        yield Need("campaign.counters.total", table, counters.total, "integer")
        yield Need("campaign.counters.succeeded", table, counters.succeeded, "integer", written=True)
        yield Need("campaign.counters.failed", table, counters.failed, "integer", written=True)
    yield from _recipient_needs(profile)
    yield from _reservation_needs(profile)


def _required(words: CampaignWords | RecipientWords) -> tuple[str, ...]:
    return tuple(word for word in words.all_known if word not in words.optional)


def _recipient_needs(profile: Profile) -> Iterator[Need]:
    recipient = profile.recipient
    table = recipient.table
    yield Need("recipient.id", table, recipient.id, "id")
    yield Need("recipient.campaign_id", table, recipient.campaign_id, "id")
    yield Need("recipient.status", table, recipient.status, "word", _required(recipient.words))
    if recipient.provider_id:
        yield Need("recipient.provider_id", table, recipient.provider_id, "any")
    for index, column in enumerate(recipient.activity):
        yield Need(f"recipient.activity[{index}]", table, column, "moment")
    if isinstance(recipient.about, str):
        yield Need("recipient.about", table, recipient.about, "any")
    if isinstance(recipient.created_at, str):
        yield Need("recipient.created_at", table, recipient.created_at, "moment")


def _reservation_needs(profile: Profile) -> Iterator[Need]:
    if (reservation := profile.reservation) is None:
        return
    table = reservation.table
    words = reservation.words.all_known
    yield Need("reservation.id", table, reservation.id, "id")
    yield Need("reservation.tenant", table, reservation.tenant, "any")
    yield Need("reservation.campaign_id", table, reservation.campaign_id, "id")
    yield Need("reservation.amount", table, reservation.amount, "number")
    yield Need("reservation.status", table, reservation.status, "word", words, written=True)
    yield Need("reservation.created_at", table, reservation.created_at, "moment")
    if reservation.expires_at:
        yield Need("reservation.expires_at", table, reservation.expires_at, "moment")
    if reservation.released_at:
        yield Need("reservation.released_at", table, reservation.released_at, "moment", written=True)
    if reservation.updated_at:
        yield Need("reservation.updated_at", table, reservation.updated_at, "moment", written=True)
    if balance := profile.balance:
        yield Need("balance.tenant", balance.table, balance.tenant, "any")
        yield Need("balance.credits", balance.table, balance.credits, "number")
