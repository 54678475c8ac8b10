"""The order of the examination: cheap and decisive first. What depends on a failed check is left out, the rest goes on.

The database is read in one read-only transaction; each question has a savepoint, and a shorter timeout than a sweep's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, DatabaseTimeout, ProfileMismatch, Unavailable
from campaign_ops.doctor import clock, fit, indexes, rights, server, suggestions
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import needed, quoted
from campaign_ops.doctor.jobs import jobs
from campaign_ops.doctor.own_schema import own_schema
from campaign_ops.doctor.queue import queue
from campaign_ops.doctor.sharing import sharing
from campaign_ops.doctor.unreachable import database_finding, unexamined
from campaign_ops.platform import Platform
from campaign_ops.postgres import inspection, samples
from campaign_ops.postgres.catalog import Catalog, read_catalog
from campaign_ops.postgres.clock import database_instant
from campaign_ops.postgres.errors import mapped
from campaign_ops.postgres.inspection import Index, Server, Table
from campaign_ops.postgres.needs import needs
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.profile.model import Profile

STATEMENT_SECONDS = 2.0
LOCK_SECONDS = 0.5

T = TypeVar("T")


def examine(platform: Platform) -> list[Finding]:
    """Examine the database, then the queue; the findings in the order in which they were made, good ones included.

    Reads only. Whatever is wrong with the platform is a finding, never an exception.
    """
    found: list[Finding] = []
    try:
        with platform.database.transaction(read_only=True) as connection:
            found.append(Finding("database", Level.OK, f"PostgreSQL at {platform.database.where} answers"))
            _Examination(platform, connection, found).run()
    except CampaignOpsError as error:
        found.append(database_finding(error, connected=bool(found)))
    found.extend(queue(platform))
    found.extend(jobs(platform))
    return found


@dataclass
class _Examination:
    """One database under examination. Findings are added to ``found`` as they are made."""

    platform: Platform
    connection: sa.Connection
    found: list[Finding]

    def run(self) -> None:
        """Examine the server, then the tables.

        Raises:
            Unavailable: The connection was lost; what was found so far stays.
        """
        facts = self._ask("database", self._server)
        if facts is None:
            return
        newness = server.version(facts)
        self.found.append(newness)
        if newness.level is Level.ERROR:
            return
        self.found += [server.primary(facts), *server.session(facts), server.timeouts(self.platform.database.timeouts)]
        self.found += [server.pooler(facts), rights.role(facts)]
        self._check("clock", lambda: [self._skew()])
        self._check("journal", lambda: own_schema(self.connection, facts))
        catalog = self._ask("profile", self._catalog)
        if catalog is not None:
            self._examine_tables(facts, catalog)

    def _server(self) -> Server:
        inspection.be_impatient(self.connection, statement_seconds=STATEMENT_SECONDS, lock_seconds=LOCK_SECONDS)
        return inspection.read_server(self.connection)

    def _skew(self) -> Finding:
        before = datetime.now(UTC)
        database = database_instant(self.connection)
        return clock.skew(database, before, datetime.now(UTC))

    def _catalog(self) -> Catalog | None:
        """The platform's columns; None where the profile does not fit them."""
        try:
            catalog = read_catalog(self.connection, self.platform.profile, self.platform.database.where)
        except ProfileMismatch as error:
            self.found.extend(fit.misfits(error))
            return None
        self.found.append(fit.fits(self.platform.profile))
        return catalog

    def _examine_tables(self, facts: Server, catalog: Catalog) -> None:
        profile, connection = self.platform.profile, self.connection
        names = [need.table for need in needed(profile)]
        may_read = self._examine_rights(facts, catalog, names)
        self.found.append(clock.time_zone(facts, naive=_any_naive(profile, catalog)))
        for role, table, column in fit.status_columns(profile):
            if words := fit.enum_words(catalog, table, column):
                self.found.append(fit.strange_words(profile, role, words, sampled=False))
        tables = self._ask("tables", lambda: inspection.read_tables(connection, profile.db_schema, names))
        if tables is None or set(names) - set(tables):
            return
        journal = any(one.check == "journal" and one.level is Level.OK for one in self.found)
        self._check("sharing", lambda: sharing(self.platform, connection, catalog, journal=journal))
        self._check("excess", lambda: self._excess(facts, tables))
        self.found += [*fit.row_security(facts, tables), *fit.triggers(profile, tables)]
        self._check("foreign_key", self._foreign_key)
        self.found += suggestions.unmapped(profile, catalog)
        there = self._ask("index", lambda: inspection.read_indexes(connection, profile.db_schema, names))
        if there is None:
            return
        self.found += indexes.indexes(profile, tables, there)
        if may_read and not catalog.row_security:
            self._examine_rows(facts, catalog, tables, there)

    def _examine_rights(self, facts: Server, catalog: Catalog, tables: list[str]) -> bool:
        """Whether every column that the profile names can be read."""
        profile = self.platform.profile
        columns = {column for need in needed(profile) for column in need.read}
        closed = self._ask(
            "rights", lambda: inspection.closed_schemas(self.connection, profile.db_schema, tables, columns)
        )
        if closed is None:
            return False
        lacking = list(rights.missing(profile, catalog, facts, closed))
        self.found += lacking or [
            Finding("rights", Level.OK, f"role {quoted(facts.role)} may do all that a sweep does")
        ]
        return not closed and all(
            catalog.column(need.table, column).may_select for need in needed(profile) for column in need.read
        )

    def _excess(self, facts: Server, tables: dict[str, Table]) -> list[Finding]:
        profile = self.platform.profile
        given = inspection.read_grants(self.connection, profile.db_schema, list(tables))
        powers = inspection.read_powers(self.connection)
        found = list(rights.excess(profile, facts, tables, given, powers))
        if not found and not facts.superuser:
            found = [Finding("excess", Level.OK, "and no more than that with the platform's tables")]
        return found

    def _foreign_key(self) -> list[Finding]:
        profile = self.platform.profile
        child, parent = profile.recipient, profile.campaign.table
        there = inspection.references(self.connection, profile.db_schema, child.table, child.campaign_id, parent)
        return [fit.foreign_key(profile, there=there)]

    def _examine_rows(self, facts: Server, catalog: Catalog, tables: dict[str, Table], there: list[Index]) -> None:
        """The few questions that look at rows: words of text columns, and the newest ``updated_at``."""
        profile = self.platform.profile
        typed = PlatformTables(profile, catalog)
        by_role = {"campaign": typed.campaign, "recipient": typed.recipient}
        for role, table, column in fit.status_columns(profile):
            if fit.enum_words(catalog, table, column) is None:
                self._check("words", partial(self._sampled, role, by_role[role], tables[table]))
        self._check("done_word", partial(self._done_word, typed, tables[profile.campaign.table]))
        if profile.reservation is not None:
            self._check("words", partial(self._holds, typed, tables[profile.reservation.table]))
        campaign = profile.campaign
        column = f"{quoted(campaign.table)}.{quoted(campaign.updated_at)}"
        if tables[campaign.table].rows >= indexes.SMALL_TABLE_ROWS and not indexes.serves_newest(profile, there):
            what = f"the newest {column} was not looked up: without the index on it that would read the whole table"
            self.found.append(Finding("application_clock", Level.NOTE, what))
            return
        naive = catalog.column(campaign.table, campaign.updated_at).type_name == "timestamp"
        self._check("application_clock", lambda: [self._newest(facts, typed, column, naive=naive)])

    def _sampled(self, role: str, rows: sa.Table, table: Table) -> list[Finding]:
        words = samples.sample_words(self.connection, rows, table.rows)
        return [fit.strange_words(self.platform.profile, role, words, sampled=True)]

    def _done_word(self, typed: PlatformTables, table: Table) -> list[Finding]:
        catalog, campaign = typed.catalog, self.platform.profile.campaign
        named = [campaign.completed_at] if campaign.completed_at else []
        columns = named or suggestions.candidates(catalog, campaign.table, "completed_at")
        readable = [name for name in columns if catalog.column(campaign.table, name).may_select]
        rows, finished = samples.count_words(self.connection, typed.campaign, table.rows, readable)
        found = suggestions.done_word(self.platform.profile, rows, finished)
        return [found] if found is not None else []

    def _holds(self, typed: PlatformTables, table: Table) -> list[Finding]:
        # Held ones are rare in a large table, and those of campaigns that are sending are held: look there too.
        words = {
            *samples.sample_words(self.connection, typed.reservations, table.rows),
            *samples.words_while_sending(self.connection, typed),
        }
        return [fit.strange_holds(self.platform.profile, words)]

    def _newest(self, facts: Server, typed: PlatformTables, column: str, *, naive: bool) -> Finding:
        newest = samples.newest_update(self.connection, typed)
        return clock.application_clock(newest, database_instant(self.connection), facts, column, naive=naive)

    def _check(self, name: str, work: Callable[[], Iterable[Finding]]) -> None:
        """Add what one check finds, or that it could not be made."""
        self.found += self._ask(name, lambda: list(work())) or []

    def _ask(self, name: str, work: Callable[[], T]) -> T | None:
        """What ``work`` says; None, and a finding, when it cannot be known.

        Raises:
            Unavailable: The connection is gone, and with it every later check.
        """
        try:
            with mapped(self.platform.database.where), self.connection.begin_nested():
                return work()
        except CampaignOpsError as error:
            if isinstance(error, Unavailable) and not isinstance(error, DatabaseTimeout):
                raise
            self.found.append(unexamined(name, error))
            return None


def _any_naive(profile: Profile, catalog: Catalog) -> bool:
    """Whether any of the platform's moments is without zone."""
    moments = [need for need in needs(profile) if need.kind == "moment"]
    return any(catalog.column(need.table, need.column).type_name == "timestamp" for need in moments)
