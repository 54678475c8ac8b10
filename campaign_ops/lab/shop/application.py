"""The statements that the shop's application runs while it sends: outcomes, touches, completion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.lab.shop.provider import Answer
from campaign_ops.lab.shop.row_reader import RowReader

_NOW = timedelta(0)


class Application(RowReader):
    """One platform's application. Every method is one transaction."""

    def is_sending(self, campaign: str) -> bool:
        """Return whether the campaign is to be sent now; a person may have paused or cancelled it."""
        table = self.tables.campaign
        with self.engine.connect() as connection:
            word = connection.scalar(
                sa.select(sa.cast(table.c.status, sa.Text)).where(table.c.id == self.bound(campaign))
            )
        return word == self.profile.campaign.words.sending

    def unsent(self, campaign: str, recipient_ids: Sequence[str]) -> list[str]:
        """Return the recipients that are still pending and carry no provider id, in order."""
        wanted = self.tables.recipient.c.id.in_([self.bound(recipient) for recipient in recipient_ids])
        return self._ids(self._of(campaign), wanted, *self._unsent())

    def write_answer(self, recipient: str, answer: Answer) -> bool:
        """Write the provider's answer for one recipient; False when it is no longer pending."""
        table, words = self.tables.recipient, self.profile.recipient.words
        changes: dict[str, Any] = {"status": words.succeeded[0] if answer.accepted else words.failed[0]}
        if answer.accepted and "provider_id" in table.c:
            changes["provider_id"] = answer.message_id
        activity = self.profile.recipient.activity
        if activity:
            changes[activity[0] if answer.accepted else activity[-1]] = self._ago(_NOW)
        statement = table.update().where(table.c.id == self.bound(recipient), *self._unsent()).values(changes)
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def write_provider_id(self, recipient: str, answer: Answer) -> bool:
        """Write only the id that the provider gave; the status stays pending, as until a webhook brings it."""
        table = self.tables.recipient
        premise = (table.c.id == self.bound(recipient), *self._unsent())
        with self.engine.begin() as connection:
            changed = connection.execute(table.update().where(*premise).values(provider_id=answer.message_id))
            return changed.rowcount == 1

    def retry_failed(self, campaign: str, recipient_ids: Sequence[str]) -> list[str]:
        """Set those of the recipients that have failed back to pending; return them."""
        table, words = self.tables.recipient, self.profile.recipient.words
        theirs = table.c.id.in_([self.bound(recipient) for recipient in recipient_ids])
        failed = (self._of(campaign), theirs, table.c.status.in_(words.failed))
        statement = table.update().where(*failed).values(status=words.pending[0])
        with self.engine.begin() as connection:
            return [str(key) for key in connection.scalars(statement.returning(sa.cast(table.c.id, sa.Text)))]

    def touch(self, campaign: str) -> None:
        """Update the campaign's timestamp: it is being worked on."""
        table = self.tables.campaign
        statement = table.update().where(table.c.id == self.bound(campaign)).values(updated_at=self._ago(_NOW))
        with self.engine.begin() as connection:
            connection.execute(statement)

    def insert_answer(
        self, campaign: str, label: str, answer: Answer, *, about: str | None = None, counted: bool = True
    ) -> None:
        """Insert the row of a recipient after the send and count it, as an application without a queue does.

        Does nothing if the row exists. ``about`` is the recipient's contact; then the row also has its creation time.
        Without ``counted`` the campaign's row stays as it is.
        """
        recipient, table, words = self.tables.recipient, self.tables.campaign, self.profile.recipient.words
        activity = self.profile.recipient.activity
        values: dict[str, Any] = {
            "id": self.bound(label),
            "campaign_id": self.bound(campaign),
            "phone": "+15550000000",
            "status": words.succeeded[0] if answer.accepted else words.failed[0],
        }
        if activity:
            values[activity[0] if answer.accepted else activity[-1]] = self._ago(_NOW)
        if "provider_id" in recipient.c:
            values["provider_id"] = answer.message_id
        if about is not None:
            values |= {"about": about, "created_at": self._ago(_NOW)}
        counter = table.c.succeeded if answer.accepted else table.c.failed
        changes = {counter.key: counter + 1, "updated_at": self._ago(_NOW)}
        with self.engine.begin() as connection:
            if connection.execute(insert(recipient).values(values).on_conflict_do_nothing()).rowcount and counted:
                connection.execute(table.update().where(table.c.id == self.bound(campaign)).values(changes))

    def complete(self, campaign: str) -> bool:
        """Complete the campaign and release its credits, if it is sending and no recipient is left; return whether."""
        table, recipient, words = self.tables.campaign, self.tables.recipient, self.profile.campaign.words
        left = sa.exists().where(self._of(campaign), *self._unsent())
        reached = sa.exists().where(self._of(campaign), recipient.c.status.in_(self.profile.recipient.words.succeeded))
        with self.engine.begin() as connection:
            outcome = words.done if words.failed is None or connection.scalar(sa.select(reached)) else words.failed
            changes: dict[str, Any] = {"status": outcome, "updated_at": self._ago(_NOW)}
            if "completed_at" in table.c:
                changes["completed_at"] = self._ago(_NOW)
            premise = (table.c.id == self.bound(campaign), table.c.status == words.sending, ~left)
            completed = connection.execute(table.update().where(*premise).values(changes)).rowcount == 1
            if completed:
                self._release(connection, campaign)
        return completed

    def _release(self, connection: sa.Connection, campaign: str) -> None:
        table, names = self.tables.reservation, self.profile.reservation
        if table is None or names is None:
            return
        changes: dict[str, Any] = {"status": names.words.released}
        if "released_at" in table.c:
            changes["released_at"] = self._ago(_NOW)
        held = (table.c.campaign_id == self.bound(campaign), table.c.status == names.words.held)
        connection.execute(table.update().where(*held).values(changes))
