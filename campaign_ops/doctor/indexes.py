"""The indexes that the statements of a sweep need, or equivalent ones, and indexes that are broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import listed, qualified, quoted
from campaign_ops.postgres.inspection import Index, Table
from campaign_ops.profile.model import Profile

SMALL_TABLE_ROWS = 10_000


class _Fit(IntEnum):
    """How well an index fits."""

    NOT = 0
    FEW_ROWS = 1  # a partial index
    LESS_WELL = 2
    WELL = 3


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Columns by which a statement looks up rows, and its purpose. ``unique``: no two rows may share them."""

    table: str
    columns: tuple[str, ...]
    purpose: str
    unique: bool = False


def _wanted(profile: Profile) -> Iterator[_Wanted]:
    campaign, recipient, reservation = profile.campaign, profile.recipient, profile.reservation
    by_id = "repairs look up rows by it"
    yield _Wanted(campaign.table, (campaign.id,), by_id, unique=True)
    yield _Wanted(campaign.table, (campaign.status, campaign.updated_at), "sweeps find stuck campaigns by it")
    yield _Wanted(recipient.table, (recipient.id,), by_id, unique=True)
    yield _Wanted(recipient.table, (recipient.campaign_id, recipient.status), "sweeps count recipients by it")
    if reservation:
        yield _Wanted(reservation.table, (reservation.id,), by_id, unique=True)
        yield _Wanted(reservation.table, (reservation.campaign_id,), "sweeps release a campaign's credits by it")
        yield _Wanted(reservation.table, (reservation.status,), "sweeps find held credits by it")


def indexes(profile: Profile, tables: dict[str, Table], there: Sequence[Index]) -> Iterator[Finding]:
    """Return a finding for each index that is needed, and one for each that is broken."""
    for wanted in _wanted(profile):
        yield _one(profile, wanted, tables[wanted.table], there)
    for index in there:
        if not index.valid:
            yield _broken(profile, index)


def serves_newest(profile: Profile, there: Sequence[Index]) -> bool:
    """Return whether an index gives the newest ``updated_at`` of each status without reading the table."""
    campaign = profile.campaign
    wanted = _Wanted(campaign.table, (campaign.status, campaign.updated_at), "")
    return any(_fit(index, wanted) is _Fit.WELL for index in there)


def _one(profile: Profile, wanted: _Wanted, table: Table, there: Sequence[Index]) -> Finding:
    columns = f"{quoted(wanted.table)} ({listed(wanted.columns)})"
    best = max(there, key=lambda index: _fit(index, wanted), default=None)
    fit = _fit(best, wanted) if best is not None else _Fit.NOT
    if best is not None and fit is _Fit.WELL:
        return Finding("index", Level.OK, f"{columns}: {quoted(best.name)} serves")
    mend = _create(profile, wanted, table)
    if best is None or fit is _Fit.NOT:
        what = f"{columns} has no {'unique ' if wanted.unique else ''}index; {wanted.purpose}"
    elif fit is _Fit.LESS_WELL and wanted.unique:
        what = f"{columns}: {quoted(best.name)} serves, but does not make it unique; {wanted.purpose}"
    elif fit is _Fit.LESS_WELL:
        what = f"{columns}: {quoted(best.name)} ({_keys(best)}) serves less well; {wanted.purpose}"
    else:
        what = f"{columns}: {quoted(best.name)} serves only WHERE {best.predicate}; {wanted.purpose}"
    if wanted.unique:
        level = Level.NOTE if fit is not _Fit.NOT else Level.WARNING
    elif table.rows < SMALL_TABLE_ROWS:
        level = Level.NOTE
        what += f"; with about {table.rows} rows it does not matter yet"
    else:
        level = Level.NOTE if fit is not _Fit.NOT else Level.WARNING
        what += f"; about {table.rows} rows"
    if table.partitioned:
        what += "; the table is partitioned: without CONCURRENTLY writers wait, so build it for each partition first"
    return Finding("index", level, what, mend)


def _fit(index: Index, wanted: _Wanted) -> _Fit:
    keys, size = tuple(index.columns), len(wanted.columns)
    if index.table != wanted.table or not index.valid or index.method not in {"btree", "hash"}:
        return _Fit.NOT
    if index.predicate is not None:
        # A column that the predicate restricts need not be a key.
        pinned = {column for column in wanted.columns if _pins(index.predicate, column)}
        rest = tuple(column for column in wanted.columns if column not in pinned)
        return _Fit.FEW_ROWS if keys[: len(rest)] == rest else _Fit.NOT
    if wanted.unique:
        if keys == wanted.columns and index.is_unique:
            return _Fit.WELL
    elif keys[:size] == wanted.columns and index.method == "btree":
        return _Fit.WELL
    leads = keys[0] == wanted.columns[0] or (size > 1 and set(keys[:size]) == set(wanted.columns))
    return _Fit.LESS_WELL if leads else _Fit.NOT


def _pins(predicate: str, column: str) -> bool:
    name = rf'(?:(?<![\w"]){re.escape(column)}(?![\w"])|{re.escape(quoted(column))})'
    return re.search(f"{name}(?! IS NOT NULL)", predicate) is not None


def _keys(index: Index) -> str:
    return ", ".join("(an expression)" if column is None else quoted(column) for column in index.columns)


def _create(profile: Profile, wanted: _Wanted, table: Table) -> str:
    kind = "UNIQUE INDEX" if wanted.unique else "INDEX"
    concurrently = "" if table.partitioned else " CONCURRENTLY"
    return f"CREATE {kind}{concurrently} ON {qualified(profile, wanted.table)} ({listed(wanted.columns)})"


def _broken(profile: Profile, index: Index) -> Finding:
    name = quoted(index.name)
    if index.being_built:
        return Finding("index", Level.NOTE, f"index {name} on {quoted(index.table)} is being built")
    what = f"index {name} on {quoted(index.table)} is invalid and unused, unless it is being built at this moment"
    # A failed REINDEX CONCURRENTLY leaves its index beside the one that it was to replace.
    verb = "DROP" if re.search(r"_cc(new|old)\d*$", index.name) else "REINDEX"
    return Finding("index", Level.WARNING, what, f"{verb} INDEX CONCURRENTLY {qualified(profile, index.name)}")
