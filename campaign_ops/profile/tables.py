"""The parts of a profile that name tables, columns and status words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from campaign_ops.profile.part import Name, Part, Words

Candidates = Annotated[tuple[Name, ...], Field(min_length=1)]


class CampaignWords(Part):
    """The words in the campaign's status column.

    Attributes:
        sending: The word of a campaign that is being sent.
        done: The word of a completed campaign of which at least one recipient succeeded.
        failed: The word of one of which all recipients failed; null where the platform has no such word.
        over: Every word after which nothing is sent any more (``done`` and ``failed`` are always among them).
        idle: Words of a campaign that is not sending now but may later.
        optional: Those of ``over`` and ``idle`` that an enum type need not have.
    """

    sending: str
    done: str
    failed: str | None = None
    over: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def all_over(self) -> tuple[str, ...]:
        """``over`` with ``done`` and ``failed`` included."""
        return tuple(dict.fromkeys([self.done, *([self.failed] if self.failed else []), *self.over]))

    @property
    def all_known(self) -> tuple[str, ...]:
        """Every word that the profile knows."""
        return tuple(dict.fromkeys([self.sending, *self.all_over, *self.idle]))

    @model_validator(mode="after")
    def _sending_is_not_over(self) -> CampaignWords:
        clash = {self.sending} & {*self.all_over, *self.idle} or {*self.all_over} & {*self.idle}
        if clash:
            msg = f"{sorted(clash)[0]!r} stands in two lists; a campaign word has one meaning"
            raise ValueError(msg)
        return self


class CounterColumns(Part):
    """The campaign's own counts: column names.

    Attributes:
        total: Recipients in total.
        succeeded: Recipients sent to.
        failed: Recipients that failed.
    """

    total: Name
    succeeded: Name
    failed: Name


class CampaignTable(Part):
    """The campaign table and its columns.

    Attributes:
        table: Table name, as it is written in the catalog.
        id: Primary key.
        tenant: Owner of the campaign.
        name: The campaign's name, for people.
        status: The status column, text or an enum type.
        updated_at: Touched by the application whenever it touches the campaign.
        created_at: When it was created; null where there is none. With ``started_at`` it gives the age of a campaign
            whose ``updated_at`` is NULL.
        started_at: When sending began; null where there is none.
        completed_at: Set when the campaign completes; null where there is none.
        counters: The campaign's own counts; null where there are none.
        words: The status words.
    """

    table: Name
    id: Name
    tenant: Name
    name: Name
    status: Name
    updated_at: Name
    created_at: Name | None = None
    started_at: Name | None = None
    completed_at: Name | None = None
    counters: CounterColumns | None = None
    words: CampaignWords


class RecipientWords(Part):
    """The words in the recipient's status column. A word in no list blocks its campaign.

    Attributes:
        pending: Not sent yet.
        succeeded: Handed to the provider, or a later state.
        failed: Will not be sent any more.
        optional: Those of them that an enum type need not have.
    """

    pending: Words
    succeeded: Words
    failed: Words
    optional: tuple[str, ...] = ()

    @property
    def sent(self) -> str:
        """The word of a recipient that a person takes as sent."""
        return self.succeeded[0]

    @property
    def all_known(self) -> tuple[str, ...]:
        """Every word that the profile knows."""
        return (*self.pending, *self.succeeded, *self.failed)

    @model_validator(mode="after")
    def _one_meaning_each(self) -> RecipientWords:
        words = self.all_known
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            msg = f"{twice[0]!r} stands in two lists; a recipient word has one meaning"
            raise ValueError(msg)
        return self


class RecipientTable(Part):
    """The recipient table and its columns. Phone numbers and texts are not among them and are never read.

    Attributes:
        table: Table name.
        id: Primary key.
        campaign_id: The campaign that the row belongs to.
        status: The status column, text or an enum type.
        provider_id: Not NULL and not empty, 0 or false once the provider has accepted the message; null where there is
            none.
        activity: Timestamp columns that show that a recipient moved.
        about: The contact that a row is about, so that a failed try and its retry are one recipient (with
            ``rows: sent``). A name must exist; of a list, the first column that exists and may be read is used.
        created_at: When the row was created, so that rows of an earlier run are recognised (with ``rows: sent``);
            without it, the earliest of ``activity``. A name or a list, as ``about``.
        rows: ``all`` when every recipient has a row from the start; ``sent`` when rows appear only when sent, so
            that the total is the campaign's own counter.
        words: The status words.
    """

    table: Name
    id: Name
    campaign_id: Name
    status: Name
    provider_id: Name | None = None
    activity: tuple[Name, ...] = ()
    about: Name | Candidates | None = None
    created_at: Name | Candidates | None = None
    rows: Literal["all", "sent"] = "all"
    words: RecipientWords


class ReservationWords(Part):
    """The words in the reservation's status column.

    Attributes:
        held: Credits are set aside.
        released: Credits are free again.
        over: Further words under which nothing is set aside. A campaign whose reservations all have unknown words is
            not completed.
    """

    held: str
    released: str
    over: tuple[str, ...] = ()

    @property
    def all_known(self) -> tuple[str, ...]:
        """Every word that the profile knows."""
        return tuple(dict.fromkeys([self.held, self.released, *self.over]))

    @model_validator(mode="after")
    def _one_meaning_each(self) -> ReservationWords:
        if self.held == self.released or self.held in self.over:
            msg = f"{self.held!r} stands in two places; a reservation word has one meaning"
            raise ValueError(msg)
        return self


class ReservationTable(Part):
    """The credit reservation table and its columns.

    Attributes:
        table: Table name.
        id: Primary key.
        tenant: The owner of the credits.
        campaign_id: The campaign that they are held for.
        amount: The number of credits.
        status: The status column, text or an enum type.
        created_at: When the hold began.
        expires_at: When it should end; null where there is none.
        released_at: Set when it ends; null where there is none.
        updated_at: Touched whenever the reservation is; null where there is none, or where a trigger sets it.
        words: The status words.
    """

    table: Name
    id: Name
    tenant: Name
    campaign_id: Name
    amount: Name
    status: Name
    created_at: Name
    expires_at: Name | None = None
    released_at: Name | None = None
    updated_at: Name | None = None
    words: ReservationWords


class BalanceTable(Part):
    """The tenants' balances. Only read: an undo holds released credits again only if the tenant still has them.

    Attributes:
        table: Table name.
        tenant: The tenant's id, as the reservations have it.
        credits: The tenant's number of credits.
        includes_held: Whether held credits are counted in it; otherwise it is the number that can be spent.
    """

    table: Name
    tenant: Name
    credits: Name
    includes_held: bool
