"""The order of the examination: cheap and decisive checks first. After a failed check only its dependents are left out.

The database is read in one read-only transaction; each check has a savepoint, and a shorter timeout than a sweep.
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
from campaign_ops.doctor.watcher import watcher
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
    """Examine the database, then the queue; return all findings, good ones included, in the order of the checks.

    Only reads. A fault of the platform is a finding, never an exception.
    """
    findings: list[Finding] = []
    try:
        with platform.database.transaction(read_only=True) as connection:
            findings.append(Finding("database", Level.OK, f"PostgreSQL at {platform.database.where} answers"))
            _Examination(platform, connection, findings).run()
    except CampaignOpsError as error:
        findings.append(database_finding(error, connected=bool(findings)))
    return [*findings, *queue(platform), *jobs(platform)]


@dataclass
class _Examination:
    """The examination of one database. Findings are kept when the connection is lost."""

    platform: Platform
    connection: sa.Connection
    findings: list[Finding]

    def run(self) -> None:
        """Examine the server, then the tables.

        Raises:
            Unavailable: The connection was lost; the findings so far are kept.
        """
        facts = self._ask("database", self._server)
        if facts is None:
            return
        newness = server.version(facts)
        self.findings.append(newness)
        if newness.level is Level.ERROR:
            return
        self.findings += [
            server.primary(facts),
            *server.session(facts),
            server.timeouts(self.platform.database.timeouts),
        ]
        self.findings += [server.pooler(facts), rights.role(facts)]
        self._check("clock", lambda: [self._skew()])
        self._check("journal", lambda: own_schema(self.connection, facts))
        if self._has_journal:
            self._check("watcher", lambda: [watcher(self.platform, self.connection)])
        catalog = self._ask("profile", self._catalog)
        if catalog is not None:
            self._examine_tables(facts, catalog)

    @property
    def _has_journal(self) -> bool:
        """Return whether our own schema can be read, according to the findings so far."""
        return any(finding.check == "journal" and finding.level is Level.OK for finding in self.findings)

    def _server(self) -> Server:
        inspection.be_impatient(self.connection, statement_seconds=STATEMENT_SECONDS, lock_seconds=LOCK_SECONDS)
        return inspection.read_server(self.connection)

    def _skew(self) -> Finding:
        before = datetime.now(UTC)
        database = database_instant(self.connection)
        return clock.skew(database, before, datetime.now(UTC))

    def _catalog(self) -> Catalog | None:
        """Return the platform's columns; None if the profile does not fit them."""
        try:
            catalog = read_catalog(self.connection, self.platform.profile, self.platform.database.where)
        except ProfileMismatch as error:
            self.findings.extend(fit.misfits(error))
            return None
        self.findings.append(fit.fits(self.platform.profile))
        return catalog

    def _examine_tables(self, facts: Server, catalog: Catalog) -> None:
        profile, connection = self.platform.profile, self.connection
        names = [need.table for need in needed(profile)]
        may_read = self._examine_rights(facts, catalog, names)
        self.findings.append(clock.time_zone(facts, naive=_any_naive(profile, catalog)))
        for role, table, column in fit.status_columns(profile):
            if words := fit.enum_words(catalog, table, column):
                self.findings.append(fit.strange_words(profile, role, words, sampled=False))
        tables = self._ask("tables", lambda: inspection.read_tables(connection, profile.db_schema, names))
        if tables is None or set(names) - set(tables):
            return
        self._check("sharing", lambda: sharing(self.platform, connection, catalog, journal=self._has_journal))
        self._check("excess", lambda: self._excess(facts, tables))
        self.findings += [*fit.row_security(facts, tables), *fit.triggers(profile, tables)]
        self._check("foreign_key", self._foreign_key)
        self.findings += fit.recipient_ids(profile, catalog)
        self.findings += suggestions.unmapped(profile, catalog)
        there = self._ask("index", lambda: inspection.read_indexes(connection, profile.db_schema, names))
        if there is None:
            return
        self.findings += indexes.indexes(profile, tables, there)
        if may_read and not catalog.row_security:
            self._examine_rows(facts, catalog, tables, there)

    def _examine_rights(self, facts: Server, catalog: Catalog, tables: list[str]) -> bool:
        """Examine rights; return whether the role may read every column that the profile names."""
        profile = self.platform.profile
        columns = {column for need in needed(profile) for column in need.read}
        closed = self._ask(
            "rights", lambda: inspection.closed_schemas(self.connection, profile.db_schema, tables, columns)
        )
        if closed is None:
            return False
        lacking = list(rights.missing(profile, catalog, facts, closed))
        self.findings += lacking or [
            Finding("rights", Level.OK, f"role {quoted(facts.role)} has every right that a sweep needs")
        ]
        return not closed and all(
            catalog.column(need.table, column).may_select for need in needed(profile) for column in need.read
        )

    def _excess(self, facts: Server, tables: dict[str, Table]) -> list[Finding]:
        profile = self.platform.profile
        granted = inspection.read_grants(self.connection, profile.db_schema, list(tables))
        powers = inspection.read_powers(self.connection)
        excess = list(rights.excess(profile, facts, tables, granted, powers))
        if not excess and not facts.superuser:
            excess = [Finding("excess", Level.OK, "the role has no further rights on the platform's tables")]
        return excess

    def _foreign_key(self) -> list[Finding]:
        profile = self.platform.profile
        child, parent = profile.recipient, profile.campaign.table
        there = inspection.references(self.connection, profile.db_schema, child.table, child.campaign_id, parent)
        return [fit.foreign_key(profile, there=there)]

    def _examine_rows(self, facts: Server, catalog: Catalog, tables: dict[str, Table], there: list[Index]) -> None:
        """Run the few checks that read rows: words of text columns, and the newest ``updated_at``."""
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
            what = f"the newest {column} was not looked up: without an index on it that would read the whole table"
            self.findings.append(Finding("application_clock", Level.NOTE, what))
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
        finding = suggestions.done_word(self.platform.profile, rows, finished)
        return [finding] if finding is not None else []

    def _holds(self, typed: PlatformTables, table: Table) -> list[Finding]:
        # Held reservations are rare in a large table, and those of sending campaigns are held: read those, too.
        words = {
            *samples.sample_words(self.connection, typed.reservations, table.rows),
            *samples.words_while_sending(self.connection, typed),
        }
        return [fit.strange_holds(self.platform.profile, words)]

    def _newest(self, facts: Server, typed: PlatformTables, column: str, *, naive: bool) -> Finding:
        newest = samples.newest_update(self.connection, typed)
        return clock.application_clock(newest, database_instant(self.connection), facts, column, naive=naive)

    def _check(self, name: str, work: Callable[[], Iterable[Finding]]) -> None:
        """Add the findings of one check, or the finding that it failed."""
        self.findings += self._ask(name, lambda: list(work())) or []

    def _ask(self, name: str, work: Callable[[], T]) -> T | None:
        """Return the result of ``work``; None, and a finding, if it fails.

        Raises:
            Unavailable: The connection is lost, so every later check would fail.
        """
        try:
            with mapped(self.platform.database.where), self.connection.begin_nested():
                return work()
        except CampaignOpsError as error:
            if isinstance(error, Unavailable) and not isinstance(error, DatabaseTimeout):
                raise
            self.findings.append(unexamined(name, error))
            return None


def _any_naive(profile: Profile, catalog: Catalog) -> bool:
    """Return whether any of the platform's timestamp columns has no time zone."""
    moments = [need for need in needs(profile) if need.kind == "moment"]
    return any(catalog.column(need.table, need.column).type_name == "timestamp" for need in moments)
