"""Schema ``campaign_ops``: whether it exists, is at head, complete, and open to the role."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import VERSION_TABLE, own_grants, quoted
from campaign_ops.doctor.rights import lost_tables, missing_own
from campaign_ops.journal.migrations import HEAD, current
from campaign_ops.postgres import inspection
from campaign_ops.postgres.database import STATE_SCHEMA
from campaign_ops.postgres.inspection import Server

MIGRATE = "run `campaign-ops migrate` as a role that may create a schema in this database"


def own_schema(connection: sa.Connection, server: Server) -> Iterator[Finding]:
    """Report what would keep a sweep from writing the journal."""
    may_use = inspection.may_use_own_schema(connection)
    if may_use is False:
        what = f"role {quoted(server.role)} may not use schema {STATE_SCHEMA}"
        yield Finding("journal", Level.ERROR, what, "; ".join(own_grants(server.role)))
        return
    rights = inspection.read_own_rights(connection)
    if may_use is None or VERSION_TABLE not in rights:
        what = f"schema {STATE_SCHEMA} does not exist: a dry run works, but a sweep cannot write its journal"
        yield Finding("journal", Level.WARNING, what, MIGRATE)
        return
    lacking = list(missing_own(server, rights))
    yield from lacking
    if "SELECT" not in rights[VERSION_TABLE]:
        return
    there, wanted = current(connection), HEAD
    if there != wanted:
        what = f"schema {STATE_SCHEMA} is at {there or 'no revision'}; this program needs {wanted}"
        yield Finding("journal", Level.ERROR, what, f"{MIGRATE}; if it is newer than this program, update the program")
    elif lost := lost_tables(rights):
        what = f"schema {STATE_SCHEMA} is incomplete: {', '.join(lost)} is gone"
        yield Finding("journal", Level.ERROR, what, "restore it from a backup: it holds the record of every repair")
    elif not lacking:
        yield Finding("journal", Level.OK, f"schema {STATE_SCHEMA} is at {wanted} and open to this role")
