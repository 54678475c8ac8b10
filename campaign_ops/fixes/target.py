"""Find the campaign or the reservation that a fix is about, or refuse: absent, another tenant's, in another status."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound, QueueUnavailable, Refused
from campaign_ops.core.model import Campaign, Evidence, Reservation
from campaign_ops.platform import Platform
from campaign_ops.postgres import reservations
from campaign_ops.sweep.credits import reservation_of
from campaign_ops.sweep.evidence import campaign_by_id
from campaign_ops.sweep.look import Observation


def is_of(platform: Platform, connection: sa.Connection, owner: str | None, tenant: str | None) -> bool:
    """Return whether a row of this owner is the asked tenant's, in any spelling of its id; any owner's if none is."""
    return tenant is None or owner in (tenant, platform.own_tenant(connection, tenant))


def find_campaign(platform: Platform, campaign_id: str, tenant: str | None) -> Campaign:
    """Return the campaign, with its id as the database spells it: a person may have written a UUID in capitals.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending.
    """
    where = f"campaign {campaign_id}"

    def _read(connection: sa.Connection) -> tuple[Campaign | None, bool]:
        campaign = campaign_by_id(platform, connection, campaign_id)
        return campaign, campaign is not None and is_of(platform, connection, campaign.tenant, tenant)

    campaign, is_theirs = platform.database.run(_read, read_only=True)
    if campaign is None or not is_theirs:
        whose = f" of tenant {tenant}" if tenant is not None else ""
        raise NotFound(f"there is no such campaign{whose}", where=where, mend="`campaign-ops status` lists them")
    sending = platform.profile.campaign.words.sending
    if campaign.status != sending:
        raise Refused(f"its status is {campaign.status!r}, not {sending!r}", where=where)
    return campaign


def find_reservation(platform: Platform, reservation_id: str, tenant: str | None) -> Reservation:
    """Return the reservation, with its id as the database spells it.

    Raises:
        NotFound: No such reservation, or another tenant's.
        Refused: It is not held, or this platform has no reservations.
    """
    where = f"reservation {reservation_id}"
    if platform.profile.reservation is None:
        raise Refused("this platform has no reservations", where=where)
    words = platform.profile.reservation.words

    def _read(connection: sa.Connection) -> tuple[Reservation, str, bool] | None:
        tables = platform.tables(connection)
        if not tables.may_be_id(tables.reservations, reservation_id):
            return None
        row = connection.execute(reservations.by_id(tables), {"ids": [reservation_id]}).first()
        if row is None:
            return None
        reservation = reservation_of(row)
        return reservation, row.status, is_of(platform, connection, reservation.tenant, tenant)

    found = platform.database.run(_read, read_only=True)
    if found is None or not found[2]:
        whose = f" of tenant {tenant}" if tenant is not None else ""
        raise NotFound(f"there is no such reservation{whose}", where=where)
    held, status, _ = found
    if status != words.held:
        raise Refused(f"its status is {status!r}, not {words.held!r}", where=where)
    return held


def still_sending(platform: Platform, campaign_id: str, observation: Observation) -> Evidence:
    """Return the evidence about the only campaign of an observation; Refused if it is no longer sending."""
    if not observation.evidence:
        sending = platform.profile.campaign.words.sending
        raise Refused(f"its status is no longer {sending!r}", where=f"campaign {campaign_id}", mend="look again")
    return observation.evidence[0]


def check_queue_answers(observation: Observation, where: str) -> None:
    """Raise QueueUnavailable if the queue could not be read: that is an outage, not a refusal."""
    if observation.queue is not None and observation.queue.away:
        raise QueueUnavailable(str(observation.queue.problem), where=where)
