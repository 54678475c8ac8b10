"""What each index that the doctor advises is worth: a sweep with it and without it, on tables of millions of rows."""

from __future__ import annotations

import re

import psycopg

from benchmarks import contestants
from benchmarks.bench import BIG, Bench, Result
from benchmarks.ground import Ground
from benchmarks.rounds import RATIO_OF_MEDIANS, Seconds, say, table, taken_on, timed
from campaign_ops.doctor import examine

Both = tuple[Seconds, Seconds]
KINDS = ("sweep", "idle")
TABLES = ("Campaign", "CampaignRecipient", "CreditReservation")

ARCHIVED = 1_000_000
"""Campaigns without recipients that are long over, each with a released reservation: so many rows have those tables."""

_ARCHIVE = (
    """INSERT INTO "Campaign" (id, "shopId", name, status, "updatedAt")
       SELECT 'old' || n, 'shop_00', 'old', 'sent', now() - interval '1 year' + n * interval '10 s'
       FROM generate_series(1, {rows}) n""",
    """INSERT INTO "CreditReservation" (id, "shopId", "campaignId", amount, status, "createdAt", "releasedAt")
       SELECT 'res_old' || n, 'shop_00', 'old' || n, 1, 'released', now() - interval '1 year', now()
       FROM generate_series(1, {rows}) n""",
    'VACUUM (FREEZE, ANALYZE) "Campaign", "CreditReservation"',
)
_NAMED = re.compile(r"CREATE (UNIQUE )?INDEX CONCURRENTLY ON (.*)")


def measure(bench: Bench) -> Result:
    """The tables as the application made them against all advised indexes; then each one away and there again."""
    compared: dict[str, tuple[Both, Both]] = {}
    archived = ARCHIVED // 20 if bench.quick else ARCHIVED
    with bench.big() as ground, ground.owner() as connection:
        for statement in _ARCHIVE:
            connection.execute(statement.format(rows=archived).encode())
        own = _both(ground, bench.rounds)
        _drop_all(connection)
        advice = _advice(ground)
        for name, statement in advice.items():
            connection.execute(_create(name, statement))
        compared["(the application's own, all)"] = own, _both(ground, bench.rounds)
        for name, statement in bench.some(list(advice.items())):
            connection.execute(f'DROP INDEX "{name}"'.encode())
            without = _both(ground, bench.rounds)
            connection.execute(_create(name, statement))
            compared[_said(statement)] = without, _both(ground, bench.rounds)
    bench.forget_big()
    recipients = bench.size(BIG).all_recipients
    say(f"\na sweep without and with each index that the doctor advises, the others there; {recipients:,} recipients,")
    say(f"{archived:,} campaigns and reservations more; x is the {RATIO_OF_MEDIANS}\n")
    rows = [
        (which, *(cell for without, there in zip(*both, strict=True) for cell in _cells(without, there)))
        for which, both in compared.items()
    ]
    say(table(("index", "sweep without", "with", "x", "idle sweep without", "with", "x"), rows))
    figures = {
        which: {
            name: [one.as_json() for one in pair] for name, pair in zip(KINDS, zip(*both, strict=True), strict=True)
        }
        for which, both in compared.items()
    }
    return Result(figures=figures)


def _cells(without: Seconds, there: Seconds) -> tuple[str, str, str]:
    # Each in a series of rounds of its own: no round of one belongs to one of the other.
    return str(without), str(there), f"{without.median / there.median:.2f}"


def _both(ground: Ground, rounds: int) -> Both:
    """A sweep with 200 stuck campaigns, and one with none; the first of each warms."""
    swept = taken_on({"": ground}, contestants.sweep, rounds)[""]
    ground.calm()
    idle = [timed(contestants.sweep, ground) for _ in range(1 + rounds)]
    return swept, Seconds(tuple(idle[1:]))


def _drop_all(connection: psycopg.Connection) -> None:
    for name in TABLES:
        connection.execute(f'ALTER TABLE "{name}" DROP CONSTRAINT "{name}_pkey" CASCADE'.encode())
        others = "SELECT quote_ident(indexname) FROM pg_indexes WHERE schemaname = 'public' AND tablename = %s"
        for (index,) in connection.execute(others, [name]).fetchall():
            connection.execute(f"DROP INDEX {index}".encode())


def _advice(ground: Ground) -> dict[str, str]:
    """What the doctor says to tables without any index: CREATE INDEX statements by names of our own."""
    platform = ground.platform()
    mends = [finding.mend for finding in examine(platform) if finding.check == "index" and finding.mend]
    platform.close()
    return {f"advised_{number}": mend for number, mend in enumerate(mends, 1)}


def _create(name: str, statement: str) -> bytes:
    return statement.replace("CONCURRENTLY ON", f"{name} ON").encode()


def _said(statement: str) -> str:
    found = _NAMED.fullmatch(statement)
    return f"{found[2]}{' unique' if found[1] else ''}" if found else statement
