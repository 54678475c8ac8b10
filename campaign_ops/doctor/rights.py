"""The rights of the role: enough for a sweep, and no more. Every mend is the exact GRANT or REVOKE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import (
    HISTORIES,
    JOURNAL,
    MEMORY,
    OWN_RIGHTS,
    Needed,
    listed,
    needed,
    own_grants,
    own_tables,
    platform_grants,
    qualified,
    quoted,
)
from campaign_ops.postgres.catalog import Catalog
from campaign_ops.postgres.database import STATE_SCHEMA
from campaign_ops.postgres.inspection import Grant, Server, Table
from campaign_ops.profile.model import Profile

OWN_ROLE_MEND = (
    "`campaign-ops migrate --grants campaign_ops` prints the SQL for a role with exactly the rights needed: run it,"
    " and put that role into database_url"
)


def role(server: Server) -> Finding:
    """Report a role with more powers than an ordinary one."""
    name = quoted(server.role)
    if server.superuser:
        return Finding("role", Level.WARNING, f"role {name} is a superuser: it may do anything", OWN_ROLE_MEND)
    powers = [
        power
        for power, has in (
            ("CREATEROLE", server.createrole),
            ("CREATEDB", server.createdb),
            ("REPLICATION", server.replication),
        )
        if has
    ]
    if powers:
        mend = f"ALTER ROLE {name} {' '.join(f'NO{power}' for power in powers)}"
        return Finding("role", Level.WARNING, f"role {name} has {', '.join(powers)}, which no sweep needs", mend)
    return Finding("role", Level.OK, f"role {name} is an ordinary one")


def missing(profile: Profile, catalog: Catalog, server: Server, closed_schemas: Sequence[str]) -> Iterator[Finding]:
    """Report the rights that a sweep needs and the role lacks."""
    name = quoted(server.role)
    if not server.may_make_temporary:
        what = f"role {name} may not create temporary tables, in which a sweep stores what the queue covers"
        mend = f"GRANT TEMPORARY ON DATABASE {quoted(server.database)} TO {name}"
        yield Finding("rights", Level.ERROR, what, mend)
    for schema in closed_schemas:
        what = f"role {name} may not use schema {quoted(schema)}"
        yield Finding("rights", Level.ERROR, what, f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {name}")
    for need in needed(profile):
        table = qualified(profile, need.table)
        unread = [column for column in need.read if not catalog.column(need.table, column).may_select]
        if unread:
            what = f"role {name} may not read {listed(unread)} of {table}"
            yield Finding("rights", Level.ERROR, what, f"GRANT SELECT ({listed(unread)}) ON {table} TO {name}")
        unwritten = [column for column in need.written if not catalog.column(need.table, column).may_update]
        if unwritten:
            what = f"role {name} may not update {listed(unwritten)} of {table}, so no repair can be written"
            yield Finding("rights", Level.ERROR, what, f"GRANT UPDATE ({listed(unwritten)}) ON {table} TO {name}")


def excess(
    profile: Profile, server: Server, tables: dict[str, Table], given: Sequence[Grant], powers: Sequence[str]
) -> Iterator[Finding]:
    """Report the role's rights on the platform's tables that no sweep uses. A superuser's are not listed."""
    if server.superuser:
        return
    name = quoted(server.role)
    for power in powers:
        verb = "write" if "write" in power else "read"
        level = Level.WARNING if verb == "write" else Level.NOTE
        keep = [*platform_grants(profile, server.role), *own_grants(server.role)]
        mend = "; ".join([*keep, f"REVOKE {power} FROM {name}"])
        yield Finding("excess", level, f"role {name} may {verb} every table of the server ({power})", mend)
    for need in needed(profile):
        table = tables[need.table]
        if table.owned:
            owner = "is its owner" if table.owner == server.role else f"is a member of its owner, {quoted(table.owner)}"
            what = f"role {name} may do anything with {quoted(table.name)}: it {owner}"
            yield Finding("excess", Level.WARNING, what, OWN_ROLE_MEND)
        of_table = [grant for grant in given if grant.table == need.table]
        for grantee, theirs in groupby(of_table, key=lambda grant: grant.grantee):
            yield from _excess_of(profile, server, need, grantee, list(theirs))


def _excess_of(
    profile: Profile, server: Server, need: Needed, grantee: str | None, given: Sequence[Grant]
) -> Iterator[Finding]:
    """Report the unneeded rights on one table that our role has from one grantee."""
    table, name = qualified(profile, need.table), quoted(server.role)
    source = "PUBLIC" if grantee is None else quoted(grantee)
    through = "" if grantee == server.role else f" through {source}"
    whole = list(dict.fromkeys(grant.privilege for grant in given if grant.column is None))
    wanted = {"SELECT": (*need.read, *need.optional), "UPDATE": need.written}
    by_column: dict[str, list[str]] = {}
    for grant in given:
        if grant.column and grant.privilege not in whole and grant.column not in wanted.get(grant.privilege, ()):
            by_column.setdefault(grant.privilege, []).append(grant.column)
    readable = by_column.pop("SELECT", [])
    harmful = [privilege for privilege in whole if privilege != "SELECT"]
    phrases = ", ".join(harmful + [f"{privilege} ({listed(columns)})" for privilege, columns in by_column.items()])
    if phrases:
        mend = f"REVOKE {phrases} ON {table} FROM {source}"
        if "UPDATE" in harmful and need.written:
            # Revoking the table's privilege also revokes those of its columns.
            mend += f"; GRANT UPDATE ({listed(need.written)}) ON {table} TO {name}"
        what = f"role {name} may {phrases} on {table}{through}, which no sweep needs"
        yield Finding("excess", Level.WARNING, what, mend)
    if "SELECT" in whole:
        what = f"role {name} may read all of {table}{through}, phone numbers and texts included; no sweep needs that"
        mend = f"{_no_reading(table, source)}; GRANT SELECT ({listed(need.read)}) ON {table} TO {name}"
        yield Finding("excess", Level.NOTE, what, mend)
    elif readable:
        what = f"role {name} may read {listed(readable)} of {table}{through}, which no sweep needs"
        yield Finding("excess", Level.NOTE, what, _no_reading(table, source, f" ({listed(readable)})"))


def _no_reading(table: str, source: str, columns: str = "") -> str:
    return f"REVOKE SELECT{columns} ON {table} FROM {source}"


def missing_own(server: Server, rights: dict[str, frozenset[str]]) -> Iterator[Finding]:
    """Report the rights on our own tables that a sweep needs and the role lacks."""
    name = quoted(server.role)
    lacking = {
        table: tuple(right for right in OWN_RIGHTS.get(table, ("SELECT",)) if right not in has)
        for table, has in rights.items()
    }
    by_right = sorted((right, table) for table, missing_rights in lacking.items() for right in missing_rights)
    for right, pairs in groupby(by_right, key=lambda pair: pair[0]):
        tables = [table for _, table in pairs]
        shown = tables[0] if len(tables) == 1 else f"{tables[0]} and {len(tables) - 1} more"
        what = f"role {name} may not {right} {STATE_SCHEMA}.{shown}"
        yield Finding("journal", Level.ERROR, what, f"GRANT {right} ON {own_tables(tables)} TO {name}")


def lost_tables(rights: dict[str, frozenset[str]]) -> list[str]:
    """Return our own tables that were dropped."""
    return [table for table in (*JOURNAL, *MEMORY, *HISTORIES) if table not in rights]
