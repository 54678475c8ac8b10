"""Totals for metrics: they only grow, whatever is pruned, restarted or renamed. Speaks to our own tables only."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from campaign_ops.journal import schema

REPAIRS = "repairs"
"""Name of the counter of repairs that took effect; its labels are kind and trigger."""
SWEEPS = "sweeps"
"""Name of the counter of finished sweeps; its label is the outcome."""

# Repairs are counted when a sweep finishes, from where the last count ended. A sweep that died before that is counted
# by the next one, after it has settled what became of the jobs.
_COUNT = sa.text("""
WITH counted AS (
    SELECT coalesce((SELECT repair_id FROM campaign_ops.counted WHERE tables = :tables FOR UPDATE), 0) AS repair_id
), repairs AS (
    SELECT repair.id, repair.kind, sweep.trigger
    FROM campaign_ops.repair AS repair JOIN campaign_ops.sweep AS sweep ON sweep.id = repair.sweep_id
    WHERE repair.tables = :tables AND repair.id > (SELECT repair_id FROM counted)
), totals AS (
    SELECT CAST(:repairs AS text) AS name, ARRAY[kind, trigger] AS labels, count(*) AS value
    FROM repairs
    WHERE kind <> 'reenqueue' OR EXISTS (
        SELECT FROM campaign_ops.intent WHERE intent.repair_id = repairs.id AND intent.added_at IS NOT NULL
    )
    GROUP BY kind, trigger
    UNION ALL
    SELECT :sweeps, ARRAY[CAST(:outcome AS text)], 1
), added AS (
    INSERT INTO campaign_ops.counter AS kept (tables, name, labels, value)
    SELECT :tables, name, labels, value FROM totals
    ON CONFLICT (tables, name, labels) DO UPDATE SET value = kept.value + excluded.value
)
INSERT INTO campaign_ops.counted (tables, repair_id)
SELECT :tables, coalesce(max(id), (SELECT repair_id FROM counted)) FROM repairs
ON CONFLICT (tables) DO UPDATE SET repair_id = excluded.repair_id
""")


def count_sweep(connection: sa.Connection, tables: str, outcome: str) -> None:
    """Count a sweep that finishes, and the repairs that were made since the sweep before."""
    connection.execute(_COUNT, {"tables": tables, "repairs": REPAIRS, "sweeps": SWEEPS, "outcome": outcome})


def totals(connection: sa.Connection, tables: str) -> Mapping[tuple[str, tuple[str, ...]], int]:
    """Every total by counter and labels."""
    counter = schema.counter.c
    rows = connection.execute(sa.select(counter.name, counter.labels, counter.value).where(counter.tables == tables))
    return {(row.name, tuple(row.labels)): row.value for row in rows}
