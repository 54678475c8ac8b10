"""Reads the stores, the ledger and the files of a drill; the database in one snapshot."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaign_ops.doctor.grants import qualified, quoted
from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.incident_records import read_files, read_incidents
from campaign_ops.lab.drill.checkers.records import (
    Claim,
    Intent,
    PlanRow,
    Records,
    Repair,
    Send,
    SlowStatement,
    Stores,
    SweepLine,
    SweepRow,
)
from campaign_ops.lab.drill.checkers.rows import Names, Raw
from campaign_ops.lab.drill.queue_watcher import OURS, Watched, read_watched
from campaign_ops.postgres.errors import mapped
from campaign_ops.profile.model import Profile

WATCHED = "watched.jsonl"
"""The queue watcher's file in the work directory."""


def read(stores: Stores) -> Records:
    """Read everything.

    Raises:
        DatabaseUnavailable: The platform's database is unavailable, or one of its tables is locked.
    """
    watched = read_watched(stores.work_dir / WATCHED)
    lines = tuple(_sweep_lines(stores.work_dir))
    denied, slow = _server_log(stores)
    files = read_files(stores.work_dir)
    snapshot = stores.ledger.engine.execution_options(isolation_level="REPEATABLE READ")
    with mapped(str(stores.ledger.engine.url.database)), snapshot.connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        connection.execute(sa.text("SET LOCAL timezone = 'UTC'"))
        ours = {"platform": stores.platform}
        return Records(
            stores=stores,
            now=connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one(),
            changes=tuple(ledger.changes(connection)),
            journaled={row.repair_id: row for row in ledger.journaled(connection)},
            repairs=tuple(_repair(row) for row in connection.execute(_REPAIRS, ours)),
            intents=tuple(Intent(*row) for row in connection.execute(_INTENTS, ours)),
            sweeps={row.id: _sweep(row) for row in connection.execute(_SWEEPS, ours)},
            plan=tuple(PlanRow(*row) for row in connection.execute(_PLAN, ours)),
            marks=tuple(ledger.marks(connection)),
            excuses=tuple(ledger.excuses(connection)),
            facts=_facts(connection, stores.ledger.profile),
            sent_again=_sent_again(connection),
            sends=connection.execute(sa.text("SELECT count(*) FROM demo.provider_send")).scalar_one(),
            carried=_carried(connection, watched),
            moves=ledger.moves(connection),
            claims=_claims(connection),
            suspicions=ledger.suspicions(connection),
            never_sent=_never_sent(connection, stores.ledger.profile),
            rows=_rows(connection, stores.ledger.profile),
            watched=watched,
            sweep_lines=lines,
            watching=read_incidents(connection, stores.platform, files),
            denied=denied,
            slow=slow,
            names=Names(stores.ledger.profile),
        )


_REPAIRS = sa.text(
    "SELECT id, sweep_id, at, kind, campaign_id, target, tenant, amount, before::text, after::text, parent_id,"
    " undone_by FROM campaign_ops.repair WHERE platform = :platform ORDER BY id"
)
_INTENTS = sa.text(
    "SELECT job_id, repair_id, campaign_id, recipients, intended_at, added_at, closed_as FROM campaign_ops.intent"
    " WHERE repair_id IN (SELECT id FROM campaign_ops.repair WHERE platform = :platform) ORDER BY intended_at, job_id"
)
_SWEEPS = sa.text(
    "SELECT id, run_id, started_at, finished_at, figures ? 'repair_plan' AS planned,"
    " coalesce(figures #> '{repair_plan,breakers}', '{}') AS breakers FROM campaign_ops.sweep"
    " WHERE platform = :platform ORDER BY id"
)
_PLAN = sa.text(
    "SELECT sweep_id, observed_at, campaign_id, target, verdict, reason, needs_person, unsent"
    " FROM campaign_ops.repair_plan_history WHERE platform = :platform ORDER BY sweep_id"
)
_FACTS = sa.text(
    "SELECT (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY(oids)) AS foreign_keys,"
    " (SELECT count(*) FROM pg_class WHERE relrowsecurity AND oid = ANY(oids)) AS row_security"
    " FROM (SELECT array_agg(CAST(name AS regclass)) AS oids FROM unnest(CAST(:tables AS text[])) name) AS platform"
)
_SENT_AGAIN = sa.text(
    "SELECT campaign_id, recipient_id, worker, job_id, sent_at, accepted FROM demo.provider_send WHERE recipient_id IN"
    " (SELECT recipient_id FROM demo.provider_send GROUP BY recipient_id HAVING count(*) > 1) ORDER BY id"
)

_SENT_BY_US = sa.text(
    "SELECT job_id, array_agg(recipient_id) FROM demo.provider_send WHERE starts_with(job_id, :ours) GROUP BY job_id"
)
_CLAIMS = sa.text("SELECT recipient_id, job_id, at, until FROM demo.claim ORDER BY id")


def _repair(row: sa.Row[Any]) -> Repair:
    images = {"before": json.loads(row.before), "after": json.loads(row.after)}
    return Repair(**{**row._mapping, **images})  # noqa: SLF001 - the documented accessor


def _sweep(row: sa.Row[Any]) -> SweepRow:
    return SweepRow(row.id, row.run_id, row.started_at, row.finished_at, row.planned, frozenset(row.breakers))


def _facts(connection: sa.Connection, profile: Profile) -> Mapping[str, int]:
    parts = (profile.campaign, profile.recipient, profile.reservation)
    tables = [qualified(profile, part.table) for part in parts if part is not None]
    return dict(connection.execute(_FACTS, {"tables": tables}).mappings().one())


def _sent_again(connection: sa.Connection) -> Mapping[str, Sequence[Send]]:
    sends: dict[str, list[Send]] = defaultdict(list)
    for row in connection.execute(_SENT_AGAIN):
        sends[row.recipient_id].append(Send(*row))
    return sends


def _carried(connection: sa.Connection, watched: Watched) -> Mapping[str, frozenset[str]]:
    carried = {job_id: frozenset(job.recipient_ids or ()) for job_id, job in watched.jobs.items()}
    for job_id, recipients in connection.execute(_SENT_BY_US, {"ours": OURS}):
        carried[job_id] = carried.get(job_id, frozenset()) | set(recipients)
    return carried


def _claims(connection: sa.Connection) -> Mapping[str, Sequence[Claim]]:
    claims: dict[str, list[Claim]] = defaultdict(list)
    for recipient_id, *values in connection.execute(_CLAIMS):
        claims[recipient_id].append(Claim(*values))
    return claims


def _never_sent(connection: sa.Connection, profile: Profile) -> list[tuple[str, str]]:
    """(campaign, recipient) of recipients that are pending and not accepted in campaigns that are done."""
    campaign, recipient = profile.campaign, profile.recipient
    missing = f"AND r.{quoted(recipient.provider_id)} IS NULL" if recipient.provider_id else ""
    query = (
        f"SELECT c.{quoted(campaign.id)}::text, r.{quoted(recipient.id)}::text"
        f" FROM {qualified(profile, campaign.table)} c JOIN {qualified(profile, recipient.table)} r"
        f" ON r.{quoted(recipient.campaign_id)} = c.{quoted(campaign.id)}"
        f" WHERE c.{quoted(campaign.status)}::text = :done AND r.{quoted(recipient.status)}::text = ANY(:pending)"
        f" {missing} ORDER BY 1, 2"
    )
    binds = {"done": campaign.words.done, "pending": list(recipient.words.pending)}
    return [(row[0], row[1]) for row in connection.execute(sa.text(query), binds)]


def _rows(connection: sa.Connection, profile: Profile) -> dict[str, dict[str, Raw]]:
    """The current campaigns and reservations, by relation and id."""
    rows: dict[str, dict[str, Raw]] = {"campaign": {}, "reservation": {}}
    for relation, part in (("campaign", profile.campaign), ("reservation", profile.reservation)):
        if part is not None:
            table = qualified(profile, part.table)
            query = f"SELECT {quoted(part.id)}::text, to_jsonb(row)::text FROM {table} AS row"
            for key, text in connection.execute(sa.text(query)):
                rows[relation][key] = json.loads(text, parse_float=Decimal)
    return rows


def _sweep_lines(work_dir: Path) -> Iterator[SweepLine]:
    for path in sorted(work_dir.glob("sweeps-*.jsonl")):
        sweeper = path.stem.removeprefix("sweeps-")
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # killed in the middle of a line
            times = row["began"], row["ended"]
            error, unexpected = row.get("error") or "", bool(row.get("unexpected"))
            yield SweepLine(sweeper, row["run_id"], *times, row["outcome"], error, unexpected)


def _server_log(stores: Stores) -> tuple[list[str], list[SlowStatement]] | tuple[None, None]:
    """Lines of denied statements, and our slow statements, from PostgreSQL's log; None if it cannot be read."""
    if stores.server_log is None or not stores.server_log.exists():
        return None, None
    ours = f" {stores.ledger.ops_role}@"
    denied: list[str] = []
    slow: list[SlowStatement] = []
    with stores.server_log.open("rb") as log:
        log.seek(stores.log_from)
        for raw in log:
            line = raw.decode(errors="replace").strip()
            if "permission denied" in line:
                denied.append(line)
            elif ours in line and (took := _DURATION.search(line)):
                slow.append(SlowStatement(float(took[1]) / 1000, line))
    return denied, slow


_DURATION = re.compile(r"LOG:  duration: ([0-9.]+) ms  (?!.*pg_advisory_xact_lock)")
"""Without waits for the sweep lock, which have their own bound."""
