"""The shop's message provider: accepts or rejects, and keeps a row for every send call.

Double sends are counted here, where they would be counted in real life, and nowhere else.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import sqlalchemy as sa

SCHEMA = "demo"

_metadata = sa.MetaData(schema=SCHEMA)
provider_send = sa.Table(
    "provider_send",
    _metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("recipient_id", sa.Text, nullable=False, index=True),
    sa.Column("campaign_id", sa.Text, nullable=False, index=True),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)
# A worker's claims are recorded beside the sends: a drill asks who was marked, long after the markers are gone.
claim_table = sa.Table(
    "claim",
    _metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("recipient_id", sa.Text, nullable=False, index=True),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("until", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The provider's answer to one send call. ``message_id`` is None where it rejected the message."""

    message_id: str | None

    @property
    def accepted(self) -> bool:
        """Return whether the message will be delivered."""
        return self.message_id is not None


class Provider:
    """Takes messages over its own connections: a send is kept even if the caller's transaction rolls back.

    Args:
        engine: The database of its table.
        reject_share: Share of recipients whose number it rejects, always the same ones.
    """

    def __init__(self, engine: sa.Engine, *, reject_share: float = 0.0) -> None:
        self._engine = engine
        self._reject_share = reject_share

    @staticmethod
    def create(engine: sa.Engine) -> None:
        """Make the table, unless it exists."""
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
            _metadata.create_all(connection)

    def send(self, recipient_id: str, campaign_id: str, worker: str, job_id: str | None = None) -> Answer:
        """Send one message. Committed when this returns."""
        accepted = share_of(recipient_id) >= self._reject_share
        row = {
            "recipient_id": recipient_id,
            "campaign_id": campaign_id,
            "worker": worker,
            "job_id": job_id,
            "accepted": accepted,
        }
        statement = provider_send.insert().values(row).returning(provider_send.c.id)
        with self._engine.begin() as connection:
            number = connection.scalar(statement)
        return Answer(f"msg_{number}" if accepted else None)

    def sends(self, campaign_id: str | None = None) -> int:
        """Count the send calls, all of them or those for one campaign."""
        calls = sa.select(sa.func.count()).select_from(provider_send)
        if campaign_id is not None:
            calls = calls.where(provider_send.c.campaign_id == campaign_id)
        with self._engine.connect() as connection:
            return int(connection.scalar(calls) or 0)

    def double_sends(self) -> dict[str, int]:
        """Return the recipients with more than one send call, and the number of calls."""
        recipient, calls = provider_send.c.recipient_id, sa.func.count()
        twice = sa.select(recipient, calls).group_by(recipient).having(calls > 1).order_by(recipient)
        with self._engine.connect() as connection:
            return {str(key): int(count) for key, count in connection.execute(twice)}

    def last_campaign(self, worker: str) -> str | None:
        """Return the campaign of the last message that this worker sent; None when it has sent none."""
        sent = sa.select(provider_send.c.campaign_id).where(provider_send.c.worker == worker)
        with self._engine.connect() as connection:
            return connection.scalar(sent.order_by(provider_send.c.id.desc()).limit(1))

    def forget(self, campaign_ids: list[str]) -> None:
        """Delete the rows of campaigns that no longer exist."""
        with self._engine.begin() as connection:
            connection.execute(provider_send.delete().where(provider_send.c.campaign_id.in_(campaign_ids)))


def share_of(text: str) -> float:
    """Return a number from 0 to 1 that is always the same for the same text: repeatable chance."""
    return zlib.crc32(text.encode()) / 2**32
