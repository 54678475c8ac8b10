"""The rights that a role needs for a sweep, down to the column, and the SQL that grants them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from campaign_ops.journal import schema
from campaign_ops.postgres.database import STATE_SCHEMA
from campaign_ops.postgres.needs import needs
from campaign_ops.profile.model import Profile

VERSION_TABLE = "alembic_version"
MEMORY = (
    schema.ambiguous.name,
    schema.audit.name,
    schema.binding.name,
    schema.confirmation.name,
    schema.idempotency.name,
    schema.incident.name,
    schema.notification.name,
    schema.worker.name,
)
HISTORIES = tuple(table.name for table in schema.HISTORIES)
JOURNAL = tuple(table.name for table in schema.sweep.metadata.sorted_tables if table.name not in {*HISTORIES, *MEMORY})
OWN_RIGHTS: dict[str, tuple[str, ...]] = {
    VERSION_TABLE: ("SELECT",),
    **dict.fromkeys(JOURNAL, ("SELECT", "INSERT", "UPDATE")),
    **dict.fromkeys(MEMORY, ("SELECT", "INSERT", "UPDATE", "DELETE")),
    **dict.fromkeys(HISTORIES, ("SELECT", "INSERT", "DELETE")),
}
"""The rights that a sweep uses on each table of schema ``campaign_ops``; its views are only read."""


@dataclass(frozen=True, slots=True)
class Needed:
    """The columns of one table that a sweep reads, those that it writes, and others that it reads if they exist."""

    table: str
    read: tuple[str, ...]
    written: tuple[str, ...]
    optional: tuple[str, ...] = ()


def needed(profile: Profile) -> list[Needed]:
    """Return the columns that a sweep needs, table by table."""
    wanted = list(needs(profile))
    return [
        Needed(
            table,
            tuple(dict.fromkeys(need.column for need in wanted if need.table == table)),
            tuple(dict.fromkeys(need.column for need in wanted if need.table == table and need.written)),
            _optional(profile) if table == profile.recipient.table else (),
        )
        for table in dict.fromkeys(need.table for need in wanted)
    ]


def grants(profile: Profile, role: str) -> list[str]:
    """Return the statements that create a role with exactly the rights that a sweep needs.

    The owner of the tables runs them in the platform's database, after ``campaign-ops migrate``. They may be run again,
    and must be after an upgrade that adds tables. A missing role is created, without a password.
    """
    name = quoted(role)
    missing = f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)})"
    database, to_role = "quote_ident(current_database())", literal(f" TO {name}")
    here = f"EXECUTE 'GRANT CONNECT, TEMPORARY ON DATABASE ' || {database} || {to_role}"
    return [
        f"DO {literal(f'BEGIN {missing} THEN CREATE ROLE {name} LOGIN; END IF; END')}",
        f"DO {literal(f'BEGIN {here}; END')}",
        *platform_grants(profile, role),
        *own_grants(role),
    ]


def platform_grants(profile: Profile, role: str) -> list[str]:
    """Return the grants on the platform's tables."""
    statements = [f"GRANT USAGE ON SCHEMA {quoted(profile.db_schema)} TO {quoted(role)}"]
    for need in needed(profile):
        rights = f"SELECT ({listed(need.read)})"
        if need.written:
            rights += f", UPDATE ({listed(need.written)})"
        statements.append(f"GRANT {rights} ON {qualified(profile, need.table)} TO {quoted(role)}")
    for name in _optional(profile):
        grant = f"GRANT SELECT ({quoted(name)}) ON {qualified(profile, profile.recipient.table)} TO {quoted(role)};"
        statements.append(f"DO {literal(f'BEGIN {grant} EXCEPTION WHEN undefined_column THEN NULL; END')}")
    return statements


def _optional(profile: Profile) -> tuple[str, ...]:
    """Return the recipient's columns from lists in the profile: a table may have any of them, or none."""
    lists = (profile.recipient.about, profile.recipient.created_at)
    return tuple(name for names in lists if isinstance(names, tuple) for name in names)


def own_grants(role: str) -> list[str]:
    """Return the grants on our own tables."""
    name = quoted(role)
    return [
        f"GRANT USAGE ON SCHEMA {STATE_SCHEMA} TO {name}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {STATE_SCHEMA} TO {name}",
        f"GRANT INSERT, UPDATE ON {own_tables(JOURNAL)} TO {name}",
        f"GRANT INSERT, UPDATE, DELETE ON {own_tables(MEMORY)} TO {name}",
        f"GRANT INSERT, DELETE ON {own_tables(HISTORIES)} TO {name}",
    ]


def own_tables(names: Iterable[str]) -> str:
    """List tables of schema ``campaign_ops`` for a statement."""
    return ", ".join(f"{STATE_SCHEMA}.{quoted(name)}" for name in names)


def qualified(profile: Profile, name: str) -> str:
    """Qualify a table or index of the platform with its schema."""
    return f"{quoted(profile.db_schema)}.{quoted(name)}"


def listed(columns: Iterable[str]) -> str:
    """List columns for a statement."""
    return ", ".join(map(quoted, columns))


def quoted(name: str) -> str:
    """Quote a name for SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL, whatever the value of ``standard_conforming_strings``."""
    escape = "E" if "\\" in text else ""
    return f"{escape}'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
