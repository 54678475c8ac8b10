"""A profile: how one kind of platform names things. Data, not code: the built-in ones are YAML files in ``builtin/``.

A user's file may ``extends`` a built-in profile and override any part of it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from campaign_ops.profile.part import Name, Part
from campaign_ops.profile.queue import QueueProfile
from campaign_ops.profile.tables import BalanceTable, CampaignTable, RecipientTable, ReservationTable


class Profile(Part):
    """How one kind of platform names its tables, columns, words and jobs.

    Attributes:
        name: The profile's name.
        db_schema: PostgreSQL schema of the platform's tables (key ``schema``).
        id_type: Type of the ids; ``auto`` takes the column's own. Integer ids are numbers in a job's payload.
        campaign: The campaign table.
        recipient: The recipient table.
        reservation: The credit reservations; null where there are none.
        balance: The tenants' credits; null where no column holds them, or where it is not to be read.
        queue: The queue; null where the platform sends in process.
    """

    name: Name
    db_schema: Name = Field(default="public", alias="schema")
    id_type: Literal["auto", "text", "uuid", "integer", "bigint"] = "auto"
    campaign: CampaignTable
    recipient: RecipientTable
    reservation: ReservationTable | None = None
    balance: BalanceTable | None = None
    queue: QueueProfile | None = None

    @property
    def tables_key(self) -> str:
        """The campaign table's name within its database: the sweep lock and the rows that decide are kept under it.

        As in the catalog, ``public.Campaign``; a part that holds a dot or a quote itself is quoted.
        """
        parts = (self.db_schema, self.campaign.table)
        return ".".join('"' + part.replace('"', '""') + '"' if {".", '"'} & {*part} else part for part in parts)

    @model_validator(mode="after")
    def _balance_is_apart(self) -> Profile:
        if self.balance is None:
            return self
        if self.reservation is None:
            msg = "balance is only read to hold released credits again; without reservation leave it out"
            raise ValueError(msg)
        if self.balance.table in (self.campaign.table, self.recipient.table, self.reservation.table):
            msg = f"balance.table {self.balance.table!r} is one of the other tables; it needs one row per tenant"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _total_is_known(self) -> Profile:
        if self.recipient.rows == "sent" and self.campaign.counters is None:
            msg = "recipient.rows is 'sent', so campaign.counters must name the column of the total"
            raise ValueError(msg)
        if self.recipient.rows == "sent" and self.queue is not None:
            msg = (
                "recipient.rows is 'sent', so recipients that the queue has lost cannot be found;"
                " set queue to null: campaigns are found and completed, batches are not put back"
            )
            raise ValueError(msg)
        return self
