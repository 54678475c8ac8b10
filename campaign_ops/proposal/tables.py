"""Which tables hold campaigns, recipients and reservations: by their columns, foreign keys and names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.wording import ids, nearest
from campaign_ops.postgres.catalog import holds
from campaign_ops.postgres.relations import Column
from campaign_ops.postgres.survey import SurveyedTable
from campaign_ops.profile.habits import COLUMNS, TABLES, folded


@dataclass(frozen=True)
class Choice:
    """The tables of a platform.

    Attributes:
        campaign: The campaigns.
        recipient: The recipients.
        reference: The recipients' column that names the campaign.
        reservation: The reservations with their column that names the campaign; None where there are none.
        rivals: Other tables that look like campaigns with recipients as much.
        recipient_rivals: Other tables that look like recipients of these campaigns as much.
    """

    campaign: SurveyedTable
    recipient: SurveyedTable
    reference: str
    reservation: tuple[SurveyedTable, str] | None = None
    rivals: tuple[str, ...] = ()
    recipient_rivals: tuple[str, ...] = ()


def choose_tables(
    tables: Sequence[SurveyedTable], *, schema: str | None, campaign: str | None, recipient: str | None
) -> Choice:
    """The most likely tables; those that a person names are taken as they are.

    Raises:
        ConfigurationError: There are none, or a named one is missing or not fit.
    """
    seen = [table for table in tables if schema in (None, table.schema)]
    campaigns, recipients = _named(seen, campaign, "--campaign-table"), _named(seen, recipient, "--recipient-table")
    pairs = [
        (_score(above, below, reference, bool(campaign), bool(recipient)), above, below, reference)
        for above in campaigns
        if above.key and pick(above, "status", "word")
        for below in recipients
        if below is not above and below.schema == above.schema and pick(below, "status", "word") and below.key
        for reference in [reference_to(below, above)]
        if reference and place_of("reservation", below.name)
    ]
    score, above, below, reference = max(pairs, key=lambda pair: pair[0], default=(0, None, None, ""))
    if above is None or below is None or score <= 0:
        shown = ids(table.name for table in seen if table.key and pick(table, "status", "word"))
        what = "no table looks like campaigns with recipients"
        what += f"; tables with a status and a primary key of one column: {shown or 'none'}"
        raise ConfigurationError(what, where="database", mend="name them with --campaign-table and --recipient-table")
    likely = {
        other.name if other.schema == above.schema else f"{other.schema}.{other.name}"
        for _, other, *_ in pairs
        if other is not above and place_of("campaign", other.name) <= place_of("campaign", above.name)
    }
    others = {
        other.name
        for _, parent, other, _ in pairs
        if parent is above and place_of("recipient", other.name) <= place_of("recipient", below.name)
    }
    recipients_too = tuple(sorted(others - {below.name}))
    return Choice(above, below, reference, _reservation(seen, above, below), tuple(sorted(likely)), recipients_too)


def _named(tables: Sequence[SurveyedTable], name: str | None, option: str) -> list[SurveyedTable]:
    if name is None:
        return list(tables)
    named = [table for table in tables if name in (table.name, f"{table.schema}.{table.name}")]
    if not named:
        mend = nearest(name, [table.name for table in tables])
        raise ConfigurationError(f"there is no table {name!r} that this role may read", where=option, mend=mend)
    return named


def _score(above: SurveyedTable, below: SurveyedTable, reference: str, *named: bool) -> float:
    """How likely two tables are campaigns and their recipients; 0 where neither is called so."""
    by_name = max(3 - place_of("campaign", above.name), 3 if named[0] else 0)
    by_child = max(3 - place_of("recipient", below.name), 3 if named[1] else 0)
    if not by_name:
        return 0
    by_key = 3 if reference in below.parents else 0
    by_columns = sum(pick(above, role, kind) is not None for role, kind in (("updated_at", "moment"), ("name", "text")))
    return 4 * by_name + 2 * by_child + by_key + by_columns + (1 if 0 < above.rows <= below.rows else 0)


def place_of(role: str, table: str) -> int:
    """The place of the first pattern that fits a table's name, the surest 0; 3 where none does."""
    fitting = [place for place, pattern in enumerate(TABLES[role]) if pattern.fullmatch(folded(table))]
    return min(fitting, default=3)


def reference_to(child: SurveyedTable, parent: SurveyedTable) -> str | None:
    """The column that names the row of another table: by a foreign key, else by its name and type."""
    for column, target in child.parents.items():
        if target == (parent.schema, parent.name) and column in child.columns:
            return column
    assert parent.key is not None
    of = parent.columns.get(parent.key)
    stem = re.sub(r"(?<=[^s])s$", "", folded(parent.name))
    wanted = {f"{word}{ending}" for word in (stem, "campaign") for ending in ("id", "uuid", "ref", "")}
    named = [name for name in child.columns if folded(name) in wanted and name != child.key]
    return next((name for name in named if of and _alike(child.columns[name], of)), None)


def _alike(one: Column, other: Column) -> bool:
    return any(holds(one, kind) and holds(other, kind) for kind in ("integer", "text")) or (
        one.type_name == other.type_name
    )


def _reservation(
    tables: Iterable[SurveyedTable], campaign: SurveyedTable, recipient: SurveyedTable
) -> tuple[SurveyedTable, str] | None:
    """The table whose rows hold a number of credits for a campaign."""

    def fitting() -> Iterator[tuple[SurveyedTable, str]]:
        for table in tables:
            reference = reference_to(table, campaign) if table not in (campaign, recipient) else None
            there = [("status", "word"), ("amount", "number"), ("created_at", "moment")]
            named = place_of("reservation", table.name) == 0 and table.schema == campaign.schema
            if named and reference and table.key and all(pick(table, role, kind) for role, kind in there):
                yield table, reference

    return next(fitting(), None)


def pick(table: SurveyedTable, role: str, kind: str, taken: Iterable[str] = ()) -> Column | None:
    """The column that by type and name has this role, the surest name first."""
    free = [column for column in table.of_kind(kind) if column.name not in taken]
    for pattern in COLUMNS[role]:
        for column in free:
            if pattern.fullmatch(folded(column.name)):
                return column
    return None


def picked_surely(column: Column, role: str) -> bool:
    """Return whether the column has the surest name of its role."""
    return COLUMNS[role][0].fullmatch(folded(column.name)) is not None
