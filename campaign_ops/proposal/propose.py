"""Reads the platform's database, and its queue where there is one, and makes the draft of its profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.core.errors import ProfileMismatch
from campaign_ops.postgres.catalog import read_catalog
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.postgres.inspection import be_impatient
from campaign_ops.postgres.survey import SurveyedTable, WordCount, campaigns_with_fewer_rows, count_words, read_survey
from campaign_ops.profile.load import built_in_profiles, load_profile
from campaign_ops.profile.model import Profile
from campaign_ops.proposal.campaign import counters_of, put_campaign
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.part import status_of
from campaign_ops.proposal.queue import prefix_of, put_queue
from campaign_ops.proposal.recipient import provider_of, put_recipient, rows_when_sent
from campaign_ops.proposal.reservation import put_reservation
from campaign_ops.proposal.tables import choose_tables, pick

STATEMENT_SECONDS = 5.0
LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Wish:
    """What a person gives.

    Attributes:
        name: The platform's name.
        database_url: A SQLAlchemy URL with our driver.
        queue_url: The Redis of the queue; None where none was named.
        schema: The schema to look in; None for all.
        campaign_table: The campaign table; None to look for it.
        recipient_table: The recipient table; None to look for it.
        built_in: Whether a built-in profile that fits as it is may be proposed by its name.
    """

    name: str
    database_url: SecretStr
    queue_url: SecretStr | None = None
    schema: str | None = None
    campaign_table: str | None = None
    recipient_table: str | None = None
    built_in: bool = True


def propose(wish: Wish) -> Draft:
    """The draft of the platform's profile.

    Raises:
        ConfigurationError: No table looks like campaigns with recipients.
        Unavailable: The database cannot be reached. A queue that cannot be read is a comment in the draft.
    """
    timeouts = Timeouts(statement_seconds=STATEMENT_SECONDS)
    with (
        closing(Database(wish.database_url.get_secret_value(), timeouts)) as database,
        database.transaction(read_only=True) as connection,
    ):
        be_impatient(connection, statement_seconds=STATEMENT_SECONDS, lock_seconds=LOCK_SECONDS)
        tables = read_survey(connection)
        named = wish.campaign_table or wish.recipient_table
        if wish.built_in and not named and (known := _built_in(connection, wish, tables, database.where)):
            return _extending(*known, wish)
        return _drafted(connection, wish, tables)


def _drafted(connection: sa.Connection, wish: Wish, tables: Sequence[SurveyedTable]) -> Draft:
    choice = choose_tables(tables, schema=wish.schema, campaign=wish.campaign_table, recipient=wish.recipient_table)
    campaign, recipient = choice.campaign, choice.recipient
    completed_at = pick(campaign, "completed_at", "moment")
    provider = provider_of(recipient)
    words = _words(connection, recipient, [provider.name] if provider else [])
    fewer = 0
    if total := counters_of(campaign).get("total"):
        fewer = campaigns_with_fewer_rows(connection, campaign, recipient, reference=choice.reference, total=total.name)
    draft = Draft()
    draft.put("name", wish.name)
    draft.put("schema", campaign.schema)
    put_campaign(draft, choice, _words(connection, campaign, [completed_at.name] if completed_at else []))
    put_recipient(draft, choice, words, fewer)
    put_reservation(draft, choice, _words(connection, choice.reservation[0]) if choice.reservation else [])
    put_queue(draft, connection, choice, wish.queue_url, when_sent=rows_when_sent(choice, words, fewer))
    return draft


def _words(connection: sa.Connection, table: SurveyedTable, columns: Sequence[str] = ()) -> list[WordCount]:
    return count_words(connection, table, status_of(table).name, columns)


def _built_in(
    connection: sa.Connection, wish: Wish, tables: Sequence[SurveyedTable], where: str
) -> tuple[Profile, list[str]] | None:
    """A built-in profile of which every table, column and word is there, and that knows every word in a sample.

    Where several schemas have its campaign table, the one with most rows that fits, and the names of the others.
    """
    for profile in map(load_profile, built_in_profiles()):
        named = [each for each in tables if each.name == profile.campaign.table and wish.schema in (None, each.schema)]
        schemas = [table.schema for table in sorted(named, key=lambda table: -table.rows)]
        for schema in schemas:
            moved = profile.model_copy(update={"db_schema": schema})
            try:
                read_catalog(connection, moved, where)
            except ProfileMismatch:
                continue
            if _knows_every_word(connection, moved, {table.name: table for table in tables if table.schema == schema}):
                return moved, [other for other in schemas if other != schema]
    return None


def _knows_every_word(connection: sa.Connection, profile: Profile, tables: Mapping[str, SurveyedTable]) -> bool:
    campaign, recipient = profile.campaign, profile.recipient
    for name, status, known in (
        (campaign.table, campaign.status, campaign.words.all_known),
        (recipient.table, recipient.status, recipient.words.all_known),
    ):
        table = tables.get(name)
        if table is None or status not in table.columns:
            return False
        if not {count.word for count in count_words(connection, table, status)} <= {*known}:
            return False
    return True


def _extending(profile: Profile, rivals: Sequence[str], wish: Wish) -> Draft:
    draft = Draft()
    draft.put("extends", profile.name, "every table, column and word of this built-in profile is there")
    draft.put("name", wish.name)
    if rivals:
        draft.put("schema", profile.db_schema, f"or {', '.join(rivals)}: one platform for each", unsure=True)
    elif profile.db_schema != "public":
        draft.put("schema", profile.db_schema)
    if profile.queue is not None and wish.queue_url is not None:
        draft.queue_prefix = prefix_of(wish.queue_url, profile.queue.name)
    elif profile.queue is not None:
        note = "no Redis was named; without a queue campaigns are completed, and batches are not put back"
        draft.put("queue", None, note, unsure=True)
    return draft
