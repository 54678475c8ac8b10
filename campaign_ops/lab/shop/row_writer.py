"""Writes the shop's rows, as the application and the people around it do.

For the demo and for every test: labels instead of ids, ages instead of moments. All moments come from the database's
clock, in UTC. campaign_ops' own tables are not written here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from campaign_ops.core.model import Counters
from campaign_ops.lab.shop.fingerprint import redis_fingerprint
from campaign_ops.lab.shop.row_reader import Row, RowReader
from campaign_ops.lab.shop.schema import PRISMA, PlatformShape, ShopTables, builtin_profile, create_tables
from campaign_ops.profile.model import Profile

__all__ = [
    "PRISMA",
    "PlatformShape",
    "RecipientCounts",
    "RowWriter",
    "ShopTables",
    "builtin_profile",
    "create_tables",
    "hours",
    "minutes",
    "redis_fingerprint",
]

State = Literal["pending", "accepted", "succeeded", "failed"]
_STATES: tuple[State, ...] = ("pending", "accepted", "succeeded", "failed")
_DEFAULT_TENANT = "shop_north"
_NOW = timedelta(0)
_HOUR = timedelta(hours=1)
_STUCK = timedelta(minutes=40)


def minutes(count: float) -> timedelta:
    """Return an age in minutes."""
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    """Return an age in hours."""
    return timedelta(hours=count)


class RecipientCounts(TypedDict, total=False):
    """Recipients to insert, by state.

    ``accepted`` ones are pending with a provider's id; ``words`` gives counts for any other status word. The last one
    moved ``moved_ago`` (1 h), each one before it 0.1 s earlier.
    """

    pending: int
    accepted: int
    succeeded: int
    failed: int
    words: Mapping[str, int]
    moved_ago: timedelta


class RowWriter(RowReader):
    """Writes one platform's rows, and reads them back. Every method is one transaction."""

    def __init__(self, engine: sa.Engine, profile: Profile, shape: PlatformShape = PRISMA) -> None:
        super().__init__(engine, profile, shape)
        self._labels = itertools.count(1)

    @classmethod
    def connect(cls, url: str, profile: Profile, shape: PlatformShape = PRISMA, *, create: bool = False) -> RowWriter:
        """Make a writer with an engine of its own; with ``create`` make the tables first."""
        engine = sa.create_engine(url)
        if create:
            with engine.begin() as connection:
                create_tables(connection, profile, shape)
        return cls(engine, profile, shape)

    def add_campaign(
        self,
        label: str | None = None,
        *,
        name: str | None = None,
        tenant: str = _DEFAULT_TENANT,
        status: str | None = None,
        updated_ago: timedelta = _STUCK,
        started_ago: timedelta | None = None,
        completed_ago: timedelta | None = None,
        counters: Counters | None = None,
        **recipients: Unpack[RecipientCounts],
    ) -> str:
        """Insert a campaign and its recipients; return its id.

        The default status is the platform's word for ``sending``. The counters agree with the rows unless given.
        """
        label = label or f"cmp_{next(self._labels)}"
        values: Row = {
            "id": self.bound(label),
            "tenant": tenant,
            "name": name or label,
            "status": status or self.profile.campaign.words.sending,
            "updated_at": self._ago(updated_ago),
            **self._moments(self.tables.campaign, started_at=started_ago, completed_at=completed_ago),
        }
        if self.profile.campaign.counters:
            counters = counters or _counters(recipients)
            values |= {"total": counters.total, "succeeded": counters.succeeded, "failed": counters.failed}
        with self.engine.begin() as connection:
            connection.execute(self.tables.campaign.insert().values(values))
            self._insert_recipients(connection, label, recipients)
        return self.id(label)

    def add_recipients(self, campaign: str, **recipients: Unpack[RecipientCounts]) -> None:
        """Insert more recipients; the server makes the rows, so that hundreds of thousands take a few seconds."""
        with self.engine.begin() as connection:
            self._insert_recipients(connection, campaign, recipients)

    def add_reservation(
        self,
        label: str | None = None,
        *,
        campaign: str | None,
        amount: int = 100,
        tenant: str | None = None,
        status: str | None = None,
        created_ago: timedelta = _HOUR,
        expires_in: timedelta | None = None,
        released_ago: timedelta | None = None,
    ) -> str:
        """Insert a credit reservation; return its id. By default it is held and belongs to the campaign's tenant.

        The campaign need not exist. With a negative ``expires_in`` it has expired, with None it never does.
        """
        label, table = label or f"res_{next(self._labels)}", self.tables.reservations
        assert self.profile.reservation is not None
        expired_ago = None if expires_in is None else -expires_in
        values: Row = {
            "id": self.bound(label),
            "campaign_id": None if campaign is None else self.bound(campaign),
            "amount": amount,
            "status": status or self.profile.reservation.words.held,
            "created_at": self._ago(created_ago),
            **self._moments(table, expires_at=expired_ago, released_at=released_ago),
        }
        owner = sa.select(self.tables.campaign.c.tenant).where(self.tables.campaign.c.id == values["campaign_id"])
        with self.engine.begin() as connection:
            values["tenant"] = tenant or connection.scalar(owner) or _DEFAULT_TENANT
            connection.execute(table.insert().values(values))
        return self.id(label)

    def set_campaign(self, campaign: str, *, updated_ago: timedelta = _NOW, **values: Any) -> None:
        """Change a campaign as the application or a person does; a timedelta is an age. Unguarded."""
        self._set(self.tables.campaign, campaign, {**values, "updated_at": updated_ago})

    def set_reservation(self, reservation: str, **values: Any) -> None:
        """Change a reservation as the application or a person does; a timedelta is an age. Unguarded."""
        self._set(self.tables.reservations, reservation, values)

    def move_recipients(
        self, campaign: str, to: State, count: int | None = None, *, moved_ago: timedelta = _NOW
    ) -> int:
        """Move pending recipients (the first ``count`` by id, or all) to a state; return how many moved."""
        table = self.tables.recipient
        pending = sa.select(table.c.id).where(self._of(campaign), *self._unsent()).order_by(table.c.id).limit(count)
        word, changes = self._state(to, sa.cast(table.c.id, sa.Text), self._ago(moved_ago))
        statement = table.update().where(table.c.id.in_(pending)).values({"status": word, **changes})
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount

    def hand_over(self, recipient_ids: Sequence[str], campaign: str) -> list[str]:
        """Move pending recipients to another campaign; return those that were still pending."""
        table = self.tables.recipient
        theirs = table.c.id.in_([self.bound(recipient) for recipient in recipient_ids])
        statement = table.update().where(theirs, *self._unsent()).values(campaign_id=self.bound(campaign))
        with self.engine.begin() as connection:
            return [str(key) for key in connection.scalars(statement.returning(sa.cast(table.c.id, sa.Text)))]

    def remove_campaigns(self, untouched_for: timedelta) -> list[str]:
        """Delete campaigns that are over and untouched for so long, with their rows; return their ids."""
        campaign = self.tables.campaign
        over = sa.select(campaign.c.id).where(
            campaign.c.status.in_(self.profile.campaign.words.all_over),
            campaign.c.updated_at < self._ago(untouched_for),
        )
        with self.engine.begin() as connection:
            ids = connection.scalars(over).all()
            for table in (self.tables.recipient, self.tables.reservation):
                if table is not None:
                    connection.execute(table.delete().where(table.c.campaign_id.in_(ids)))
            connection.execute(campaign.delete().where(campaign.c.id.in_(ids)))
        return [str(campaign_id) for campaign_id in ids]

    def _set(self, table: sa.Table, label: str, values: Row) -> None:
        changed = {key: self._ago(value) if isinstance(value, timedelta) else value for key, value in values.items()}
        with self.engine.begin() as connection:
            connection.execute(table.update().where(table.c.id == self.bound(label)).values(changed))

    def _moments(self, table: sa.Table, **ages: timedelta | None) -> Row:
        """Return the ages as values for those of the columns that the platform has."""
        return {key: self._ago(age) for key, age in ages.items() if age is not None and key in table.c}

    def _state(
        self, state: State, label: sa.ColumnElement[str], moved: sa.ColumnElement[Any]
    ) -> tuple[str, dict[str, Any]]:
        """Return the word of a state, and the other values the application writes when a recipient enters it."""
        words, activity = self.profile.recipient.words, self.profile.recipient.activity
        changes: dict[str, Any] = {}
        if state in ("accepted", "succeeded") and self.profile.recipient.provider_id:
            changes["provider_id"] = sa.literal("msg_") + label
        match state:
            case "pending" | "accepted":
                return words.pending[0], changes
            case "succeeded":
                return words.succeeded[0], changes | ({activity[0]: moved} if activity else {})
            case "failed":
                return words.failed[0], changes | ({activity[-1]: moved} if activity else {})

    def _insert_recipients(self, connection: sa.Connection, campaign: str, counts: RecipientCounts) -> None:
        existing = sa.select(sa.func.count()).select_from(self.tables.recipient).where(self._of(campaign))
        first = 1 + (connection.scalar(existing) or 0)
        for state, word, count in _runs(counts):
            if count > 0:
                self._insert_run(connection, campaign, state, word, first, count, counts.get("moved_ago", _HOUR))
                first += count

    def _insert_run(
        self,
        connection: sa.Connection,
        campaign: str,
        state: State,
        word: str | None,
        first: int,
        count: int,
        moved_ago: timedelta,
    ) -> None:
        """Insert ``count`` recipients of one state, numbered from ``first``; ``word`` replaces the state's own."""
        table, last = self.tables.recipient, first + count - 1
        number = sa.func.generate_series(first, last).column_valued("number")
        label = sa.literal(f"{campaign}_r") + sa.func.lpad(sa.cast(number, sa.Text), 6, "0")
        earlier = sa.func.make_interval(0, 0, 0, 0, 0, 0, (last - number) * 0.1)
        moved = self._ago(moved_ago) - earlier
        own_word, changes = self._state(state, label, moved)
        values: Row = {
            "id": self._recipient_id(label, number, first),
            "campaign_id": sa.cast(sa.literal(self.bound(campaign)), table.c.campaign_id.type),
            "phone": sa.literal("+1555") + sa.func.lpad(sa.cast(number, sa.Text), 7, "0"),
            "message": sa.literal("Hi! This is a demo message."),
            "status": sa.cast(sa.literal(word or own_word), table.c.status.type),
            **({"about": sa.literal("contact_") + label} if "about" in table.c else {}),
            **({"created_at": moved} if "created_at" in table.c else {}),
            **changes,
        }
        connection.execute(table.insert().from_select(list(values), sa.select(*values.values())))

    def _recipient_id(
        self, label: sa.ColumnElement[str], number: sa.ColumnElement[Any], first: int
    ) -> sa.ColumnElement[Any]:
        column = self.tables.recipient.c.id
        match self.tables.shape.ids:
            case "text":
                return label
            case "uuid":
                return sa.cast(sa.func.md5(label), column.type)
            case "bigint":  # of 52 bits, as a JavaScript number can be; made at once by writers that do not wait
                hashed = sa.literal("x") + sa.func.substr(sa.func.md5(label), 1, 13)
                return sa.cast(sa.cast(hashed, pg.BIT(52)), column.type)
            case "integer":
                highest = sa.select(sa.func.coalesce(sa.func.max(column), 0)).scalar_subquery()
                return highest + (number - (first - 1))


def _runs(counts: RecipientCounts) -> Iterator[tuple[State, str | None, int]]:
    for state in _STATES:
        yield state, None, counts.get(state, 0)
    for word, count in counts.get("words", {}).items():
        yield "pending", word, count


def _counters(counts: RecipientCounts) -> Counters:
    """Return the counters that the application would have for these rows."""
    return Counters(
        total=sum(count for _, _, count in _runs(counts)),
        succeeded=counts.get("succeeded", 0) + counts.get("accepted", 0),
        failed=counts.get("failed", 0),
    )
