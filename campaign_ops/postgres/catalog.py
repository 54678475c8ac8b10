"""Check that the profile fits the database, and read the real column types. Reads the catalog only, in one query.

With the real types the same profile serves text and enum statuses, integer and text ids, timestamps with and without
time zone. A misfit names what is missing and what is there instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from campaign_ops.core.errors import PermissionMissing, ProfileMismatch
from campaign_ops.core.ids import JobIds, id_type
from campaign_ops.postgres.needs import Need, needs
from campaign_ops.postgres.relations import Column, misfit, quoted, read_relations
from campaign_ops.profile.model import Profile

TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "citext", "name"})
ID_TYPES = {"text": TEXT_TYPES, "uuid": {"uuid"}, "integer": {"int2", "int4"}, "bigint": {"int8"}}
INTEGER_TYPES = frozenset({"int2", "int4", "int8"})
NUMBER_TYPES = frozenset({*INTEGER_TYPES, "numeric", "float4", "float8"})
INSTEAD_SHOWN = 6

_OID = sa.text(
    "SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname || '.' || c.relname = replace(:key, '\"', '') AND c.relkind IN ('r', 'p')"
)
_TABLES = sa.text(
    """
    SELECT n.nspname AS schema_name, c.relname AS table_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    ORDER BY n.nspname = :schema DESC, 1, 2 LIMIT 500
    """
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The real columns of the platform's tables, and the tables whose rows policies may hide."""

    columns: dict[tuple[str, str], Column]
    campaign_oid: int
    role: str = ""
    row_security: tuple[str, ...] = ()

    def column(self, table: str, name: str) -> Column:
        """The column. `read_catalog` has checked that it exists."""
        return self.columns[table, name]

    def first_of(self, table: str, names: str | Iterable[str] | None, *, moment: bool = False) -> str | None:
        """The column of that name, or the first of a list that exists, may be read and fits; None if none does."""
        if names is None or isinstance(names, str):
            return names
        existing = (self.columns[table, name] for name in names if (table, name) in self.columns)
        fitting = (column for column in existing if column.may_select and (not moment or column.is_moment))
        return next((column.name for column in fitting), None)

    def not_writable(self, profile: Profile) -> list[str]:
        """Columns that a sweep writes and this role may not update, as ``"table"."column"``."""
        written = [need for need in needs(profile) if need.written]
        columns = [self.column(need.table, need.column) for need in written]
        return [
            f'"{column.table}"."{column.name}"' for column in columns if not column.may_update and not column.generated
        ]

    def check_rows_are_visible(self, where: str) -> None:
        """Raise PermissionMissing when row level security may hide rows: an unfinished campaign would look finished.

        Every policy counts, even one that lets all rows through: its expression is not evaluated here.
        """
        if not self.row_security:
            return
        tables = ", ".join(f'"{name}"' for name in self.row_security)
        raise PermissionMissing(
            f"row level security may hide rows of {tables} from role {quoted(self.role)}; nothing was touched",
            where=where,
            mend=f"ALTER ROLE {quoted(self.role)} BYPASSRLS, or connect as a role that owns the tables",
        )

    def names(self, table: str, *, moments: bool = False) -> list[str]:
        """The names of the table's columns, or only of those that hold a moment."""
        return [
            name
            for (where, name), column in self.columns.items()
            if where == table and (not moments or column.is_moment)
        ]

    def numeric_ids(self, profile: Profile) -> bool:
        """Return whether ids are numbers in a job's payload: as in the database, unless the profile says otherwise."""
        if profile.queue is not None and profile.queue.payload_ids != "auto":
            return profile.queue.payload_ids == "numbers"
        return self.column(profile.recipient.table, profile.recipient.id).type_name in INTEGER_TYPES

    def job_ids(self, profile: Profile) -> JobIds:
        """The comparison of ids in a job's payload with the columns that they come from, and how they are written."""
        campaign, recipient = profile.campaign, profile.recipient
        of_campaign = id_type(self.column(campaign.table, campaign.id).type_name)
        of_recipient = id_type(self.column(recipient.table, recipient.id).type_name)
        return JobIds(of_campaign, of_recipient, self.numeric_ids(profile))


def read_catalog(connection: sa.Connection, profile: Profile, where: str) -> Catalog:
    """Read the columns and check the profile against them.

    Raises:
        ProfileMismatch: One line for each table, column, type or enum word that is not as the profile says.
    """
    wanted = list(needs(profile))
    tables = sorted({need.table for need in wanted})
    there = read_relations(connection, profile.db_schema, [(need.table, need.column) for need in wanted])
    misfits = {name: misfit(connection, profile.db_schema, relation) for name, relation in there.relations.items()}
    columns = {key: column for key, column in there.columns.items() if not misfits[column.table]}
    problems = list(_missing_tables(connection, profile, tables, set(misfits)))
    problems.extend(filter(None, misfits.values()))
    for need in wanted:
        if any(table == need.table for table, _ in columns):
            problems.extend(_problems(need, columns, profile))
    problems.extend(_named_twice(wanted))
    problems.extend(_not_comparable(wanted, columns))
    if problems:
        raise ProfileMismatch(
            problems, where=f"profile {profile.name} on {where}", mend="correct the profile; nothing was touched"
        )
    hidden = tuple(relation.name for relation in there.relations.values() if relation.row_security)
    return Catalog(columns, there.relations[profile.campaign.table].oid, role=there.role, row_security=hidden)


def table_oid(connection: sa.Connection, key: str) -> int | None:
    """The oid of the table of this `Profile.tables_key`; None where there is none."""
    oid: int | None = connection.scalar(_OID, {"key": key})
    return oid


def _missing_tables(
    connection: sa.Connection, profile: Profile, tables: Iterable[str], found: set[str]
) -> Iterator[str]:
    missing = [table for table in tables if table not in found]
    if not missing:
        return
    there = list(connection.execute(_TABLES, {"schema": profile.db_schema}))
    here = [row.table_name for row in there if row.schema_name == profile.db_schema]
    for table in missing:
        line = f'table "{table}" is not in schema "{profile.db_schema}"'
        elsewhere = [row.schema_name for row in there if row.table_name == table]
        if elsewhere:
            yield f'{line}, but in schema "{elsewhere[0]}"'
        else:
            yield f"{line}; {_instead(table, here)}"


def _problems(need: Need, found: dict[tuple[str, str], Column], profile: Profile) -> Iterator[str]:
    column = found.get((need.table, need.column))
    label = f'"{need.table}"."{need.column}" ({need.role})'
    if column is None:
        there = [name for table, name in found if table == need.table]
        yield f"column {label} is missing; {_instead(need.column, there)}"
        return
    if not _holds(need, column, profile):
        asked = profile.id_type if need.kind == "id" and profile.id_type != "auto" else need.kind
        yield f"column {label} is of type {column.type_name}; {_ASKED.get(asked, asked)} is needed"
    if need.written and need.kind == "word" and column.generated:
        yield f"column {label} is generated by the database, so no repair can be written; name one that can be set"
    for word in need.words if column.is_enum else ():
        if word not in column.words:
            yield f"{word!r} is not a word of enum {column.type_name}, {label}; {_instead(word, column.words)}"


def _named_twice(wanted: Iterable[Need]) -> Iterator[str]:
    roles: dict[tuple[str, str], list[str]] = {}
    for need in wanted:
        if not need.role.startswith("recipient.activity"):
            roles.setdefault((need.table, need.column), []).append(need.role)
    for (table, column), named in roles.items():
        if len(named) > 1:
            yield f'column "{table}"."{column}" is named twice ({", ".join(named)}); each needs a column of its own'


def _not_comparable(wanted: Iterable[Need], found: dict[tuple[str, str], Column]) -> Iterator[str]:
    """References to a campaign that PostgreSQL cannot compare with its id, such as a text with a uuid."""
    campaign, *references = [need for need in wanted if need.role.endswith(("campaign.id", ".campaign_id"))]
    id_column = found.get((campaign.table, campaign.column))
    for need in references:
        column = found.get((need.table, need.column))
        if column and id_column and _id_family(column) != _id_family(id_column):
            label, other = f'"{need.table}"."{need.column}" ({need.role})', f'"{campaign.table}"."{campaign.column}"'
            types = f"is of type {column.type_name} and cannot be compared with {other} (campaign.id)"
            yield f"column {label} {types} of type {id_column.type_name}"


def _id_family(column: Column) -> str:
    if column.type_name in INTEGER_TYPES:
        return "integer"
    return "text" if column.type_name in TEXT_TYPES else column.type_name


_ASKED = {"word": "text or an enum", "moment": "a timestamp", "id": "text, uuid or an integer", "number": "a number"}


def _holds(need: Need, column: Column, profile: Profile) -> bool:
    if need.kind != "id":
        return holds(column, need.kind)
    allowed = [ID_TYPES[profile.id_type]] if profile.id_type != "auto" else ID_TYPES.values()
    return any(column.type_name in types for types in allowed)


def holds(column: Column, kind: str) -> bool:
    """Return whether the column can hold this kind of value."""
    match kind:
        case "word":
            return column.is_enum or column.type_name in TEXT_TYPES
        case "moment":
            return column.is_moment
        case "integer":
            return column.type_name in INTEGER_TYPES
        case "number":
            return column.type_name in NUMBER_TYPES
        case "text":
            return column.type_name in TEXT_TYPES
        case _:
            return True


def _instead(name: str, there: Iterable[str]) -> str:
    there = list(there)
    near = difflib.get_close_matches(name.lower(), [item.lower() for item in there], n=1, cutoff=0.5)
    nearest = next((item for item in there if near and item.lower() == near[0]), None)
    near_or_first = there[:INSTEAD_SHOWN]
    more = len(there) - len(near_or_first)
    listed = ", ".join(near_or_first) + (f" and {more} more" if more else "")
    if nearest:
        return f'did you mean "{nearest}"? there are: {listed}'
    return f"there are: {listed}" if there else "there is none"
