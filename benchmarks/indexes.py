"""The worth of each index that the doctor advises: a sweep with and without it, on tables of millions of rows."""

from __future__ import annotations

import re

import psycopg

from benchmarks import contestants
from benchmarks.dataset import Dataset
from benchmarks.rounds import RATIO_OF_MEDIANS, Seconds, say, table, taken_on, timed
from benchmarks.session import BIG, Result, Session
from campaign_ops.doctor import examine

Both = tuple[Seconds, Seconds]
KINDS = ("sweep", "idle")
TABLES = ("Campaign", "CampaignRecipient", "CreditReservation")

ARCHIVED = 1_000_000
"""Campaigns without recipients that are long over, each with a released reservation, to make those tables large."""

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


def measure(session: Session) -> Result:
    """Compare the application's own indexes with all advised ones; then drop each and create it again."""
    compared: dict[str, tuple[Both, Both]] = {}
    archived = ARCHIVED // 20 if session.quick else ARCHIVED
    with session.big() as dataset, dataset.owner() as connection:
        for statement in _ARCHIVE:
            connection.execute(statement.format(rows=archived).encode())
        own = _both(dataset, session.rounds)
        _drop_all(connection)
        advice = _advice(dataset)
        for name, statement in advice.items():
            connection.execute(_create(name, statement))
        compared["(the application's own, all)"] = own, _both(dataset, session.rounds)
        for name, statement in session.some(list(advice.items())):
            connection.execute(f'DROP INDEX "{name}"'.encode())
            without = _both(dataset, session.rounds)
            connection.execute(_create(name, statement))
            compared[_words(statement)] = without, _both(dataset, session.rounds)
    session.forget_big()
    recipients = session.size(BIG).all_recipients
    say(f"\na sweep without and with each index that the doctor advises, beside the others; {recipients:,} recipients,")
    say(f"{archived:,} campaigns and reservations more; x is the {RATIO_OF_MEDIANS}\n")
    rows = [
        (which, *(cell for without, there in zip(*both, strict=True) for cell in _cells(without, there)))
        for which, both in compared.items()
    ]
    say(table(("index", "sweep without", "with", "x", "idle sweep without", "with", "x"), rows))
    figures = {
        which: {
            name: [seconds.as_json() for seconds in pair]
            for name, pair in zip(KINDS, zip(*both, strict=True), strict=True)
        }
        for which, both in compared.items()
    }
    return Result(figures=figures)


def _cells(without: Seconds, there: Seconds) -> tuple[str, str, str]:
    # Each has a series of rounds of its own: no round of one belongs to a round of the other.
    return str(without), str(there), f"{without.median / there.median:.2f}"


def _both(dataset: Dataset, rounds: int) -> Both:
    """Time sweeps with 200 stuck campaigns, and with none; the first of each warms up."""
    swept = taken_on({"": dataset}, contestants.sweep, rounds)[""]
    dataset.calm()
    idle = [timed(contestants.sweep, dataset).seconds for _ in range(1 + rounds)]
    return swept, Seconds(tuple(idle[1:]))


def _drop_all(connection: psycopg.Connection) -> None:
    for name in TABLES:
        connection.execute(f'ALTER TABLE "{name}" DROP CONSTRAINT "{name}_pkey" CASCADE'.encode())
        others = "SELECT quote_ident(indexname) FROM pg_indexes WHERE schemaname = 'public' AND tablename = %s"
        for (index,) in connection.execute(others, [name]).fetchall():
            connection.execute(f"DROP INDEX {index}".encode())


def _advice(dataset: Dataset) -> dict[str, str]:
    """The doctor's advice for tables without any index: CREATE INDEX statements by names of our own."""
    platform = dataset.platform()
    mends = [finding.mend for finding in examine(platform) if finding.check == "index" and finding.mend]
    platform.close()
    return {f"advised_{number}": mend for number, mend in enumerate(mends, 1)}


def _create(name: str, statement: str) -> bytes:
    return statement.replace("CONCURRENTLY ON", f"{name} ON").encode()


def _words(statement: str) -> str:
    match = _NAMED.fullmatch(statement)
    return f"{match[2]}{' unique' if match[1] else ''}" if match else statement
