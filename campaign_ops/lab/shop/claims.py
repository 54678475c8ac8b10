"""The application's own guard against sending twice: marker keys in Redis, each recorded where a drill can read it."""

from __future__ import annotations

from collections.abc import Collection
from uuid import uuid4

import redis
import sqlalchemy as sa

from campaign_ops.lab.shop.provider import claim_table
from campaign_ops.profile.queue import QueueProfile

CLAIM_SECONDS = 86_400


class Claims:
    """The markers of recipients; of the profile's keys the last is the claim, the first says that it was sent.

    Args:
        client: The Redis of the queue.
        profile: Names the keys.
        seconds: How long a claim lasts.
        record: The database in which each claim is recorded, when it exists in Redis; None for no record.
    """

    def __init__(
        self,
        client: redis.Redis,
        profile: QueueProfile,
        *,
        seconds: int = CLAIM_SECONDS,
        record: sa.Engine | None = None,
    ) -> None:
        self._client = client
        self._sent, self._claim = profile.markers[0], profile.markers[-1]
        self._seconds = seconds
        self._record = record

    def take(self, recipient: str, job_id: str = "") -> str | None:
        """Claim a recipient; return the claim for `holds`, or None when it was claimed before."""
        claim, key = uuid4().hex, self._claim.format(recipient_id=recipient)
        if not self._client.set(key, claim, nx=True, ex=self._seconds):
            return None
        if self._record is not None:
            until = sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, self._seconds)
            row = {"recipient_id": recipient, "job_id": job_id, "until": until}
            with self._record.begin() as connection:
                connection.execute(claim_table.insert().values(row))
        return claim

    def holds(self, recipient: str, claim: str) -> bool:
        """Return whether the claim is still there: after a loss of Redis's data another worker may have claimed it."""
        current = self._client.get(self._claim.format(recipient_id=recipient))
        return current in (claim, claim.encode())

    def sent(self, recipient: str) -> None:
        """Mark the recipient's message as sent."""
        self._client.set(self._sent.format(recipient_id=recipient), "1", ex=self._seconds)

    def forget(self, recipients: Collection[str]) -> None:
        """Delete the recipients' markers: the application wants to send to them again."""
        if not recipients:
            return
        if self._record is not None:
            now = sa.func.clock_timestamp()
            theirs = sa.and_(claim_table.c.recipient_id.in_(recipients), claim_table.c.until > now)
            with self._record.begin() as connection:
                connection.execute(claim_table.update().where(theirs).values(until=now))
        keys = (marker.format(recipient_id=one) for one in recipients for marker in (self._sent, self._claim))
        self._client.delete(*keys)
