"""Rules about writing, each removed as a careless programmer would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core import plan, verdicts
from campaign_ops.core.model import Evidence, Verdict, age
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.policy import Breaker, Policy
from campaign_ops.journal.journal import Entry, Journal
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, completion
from campaign_ops.postgres.database import Database, SweepLock
from campaign_ops.postgres.recipients import went_well
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.sweep import act, complete, tally
from campaign_ops.sweep.result import Failure, StepResult
from tests.lab.drill.mutations.mutation import OFTEN, Mutation, put

# A fault lasts at most a tenth of the drill, so these drills are long; they end when the damage is found.
_LONG = 90.0

# -- 9: one transaction for what belongs together --------------------------------------------------------------


def _journal_apart() -> None:
    record = Journal.record

    def apart(self: Journal, connection: sa.Connection, author: Author, entries: Sequence[Entry]) -> list[int]:
        with connection.engine.begin() as another:
            return record(self, another, author, entries)

    put(Journal, "record", apart)


def _release_later() -> None:
    put(complete, "release_with_campaigns", lambda *_, **__: iter(()))


# -- 10: one sweep per platform at a time ----------------------------------------------------------------------


def _lock_given_back() -> None:
    take = SweepLock.hold

    @contextmanager
    def hold(self: SweepLock) -> Iterator[SweepLock]:
        with take(self):
            pass
        self.waited = True  # a sweep that did not wait does its work in the lock's own transaction
        yield self

    put(SweepLock, "hold", hold)
    put(SweepLock, "check", lambda self: None)


# -- 11: bounded -----------------------------------------------------------------------------------------------


def _no_timeouts() -> None:
    def settings(self: Database) -> dict[str, str]:
        return {"application_name": self.application_name, "timezone": "UTC"}

    put(Database, "_settings", settings)


def _page_fails_together() -> None:
    def together(
        _platform: Platform, _lock: SweepLock, result: StepResult, page: Sequence[PlanItem], _work: act.WritePage
    ) -> None:
        result.failures.extend(Failure(item.target, "its page failed") for item in page)

    put(act, "_one_by_one", together)


# -- 12: blast radius ------------------------------------------------------------------------------------------


def _no_breaker() -> None:
    put(plan, "check_breaker", lambda *_, **__: Breaker(tripped=False))


# -- 13: give up loudly ----------------------------------------------------------------------------------------


def _never_give_up() -> None:
    def held_back(evidence: Evidence, policy: Policy, now: datetime) -> Verdict | None:
        last_at = evidence.attempts.last_at
        return Verdict.COOLDOWN if last_at is not None and age(last_at, now) < policy.cooldown else None

    put(verdicts, "_held_back", held_back)


# -- 14: unknown words block -----------------------------------------------------------------------------------


def _unknown_is_failed() -> None:
    meaning = tally._meaning

    def guessed(*arguments: Any) -> str:
        return meaning(*arguments) or "failed"

    put(tally, "_meaning", guessed)


# -- 15: the database's clock decides, in UTC ------------------------------------------------------------------


def _own_clock() -> None:
    def now(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        moment = datetime.now(UTC)
        aware = isinstance(column.type, sa.DateTime) and column.type.timezone
        return sa.literal(moment if aware else moment.replace(tzinfo=None), column.type)

    put(campaigns, "db_now", now)


def _local_time() -> None:
    settings = Database._settings

    def as_the_server(self: Database) -> dict[str, str]:
        return {name: value for name, value in settings(self).items() if name != "timezone"}

    put(Database, "_settings", as_the_server)
    put(campaigns, "db_now", lambda _column: sa.func.now())


# -- 16: least privilege ---------------------------------------------------------------------------------------


def _select_everything() -> None:
    """Selecting a whole row needs the privilege to read all its columns."""

    def of_whole_rows(tables: PlatformTables) -> sa.ColumnElement[bool]:
        row = sa.literal_column(f'"{tables.recipient.name}" IS NOT NULL', sa.Boolean)
        return sa.and_(went_well(tables), row)

    put(completion, "went_well", of_whole_rows)


MUTATIONS: dict[str, Mutation] = {
    "journal_apart": Mutation(
        rule=9,
        what="a repair's journal row commits before the repair, on a connection of its own",
        apply=_journal_apart,
        faults=OFTEN,
        seen=frozenset({"journal"}),
    ),
    "release_later": Mutation(
        rule=9,
        what="the credits of a completed campaign are released by the next sweep",
        apply=_release_later,
        faults=OFTEN,
        seen=frozenset({"left_held"}),
    ),
    "lock_given_back": Mutation(
        rule=10,
        what="the sweep lock is taken in a short transaction and not held for the sweep",
        apply=_lock_given_back,
        faults=OFTEN,
        seen=frozenset({"overlapping"}),
    ),
    "no_timeouts": Mutation(
        rule=11,
        what="statements wait and run without a timeout",
        apply=_no_timeouts,
        faults=("table_lock",) + ("lose_completion",) * 3,  # between two locks the checkers can read
        seconds=_LONG,
        seed=85,  # begins with the campaigns' table
        seen=frozenset({"slow_statements"}),
    ),
    "page_fails_together": Mutation(
        rule=11,
        what="a campaign that cannot be completed blocks its whole page",
        apply=_page_fails_together,
        faults=("poison_campaign",) * 4 + ("lose_completion",) * 16,
        seconds=_LONG,
        seed=203,  # begins with the campaign that cannot be completed
        seen=frozenset({"starved"}),
    ),
    "no_breaker": Mutation(
        rule=12,
        what="a sweep repairs any number of campaigns that look lost",
        apply=_no_breaker,
        faults=("redis_empty",) * 6,
        seconds=40,
        seed=43,  # begins with a long outage
        workers={"delay_ms": 10},  # so that few other campaigns are sending when Redis dies
        seen=frozenset({"beyond_breaker"}),
    ),
    "never_give_up": Mutation(
        rule=13,
        what="a campaign is re-enqueued without limit, even without progress",
        apply=_never_give_up,
        # Two: with eight, most of what was sending was lost, and the breaker held the fourth attempt back.
        faults=("unsendable",) * 2,
        worker_module="tests.lab.drill.trusting_worker",  # without completed jobs, which make it `ambiguous`
        seen=frozenset({"in_vain"}),
    ),
    "unknown_is_failed": Mutation(
        rule=14,
        what="an unknown recipient status is treated as failed",
        apply=_unknown_is_failed,
        faults=("unknown_word",),
        seen=frozenset({"unknown_repaired"}),
    ),
    "own_clock": Mutation(
        rule=15,
        what="the clock of the sweeper's machine decides which campaigns are stuck",
        apply=_own_clock,
        faults=("clock_skew",) * 4 + ("lose_completion",) * 16,
        seconds=_LONG,
        seed=51,  # begins with a clock that is ahead
        seen=frozenset({"too_young"}),
    ),
    "local_time": Mutation(
        rule=15,
        what="a UTC timestamp without time zone is compared with the server's local time",
        apply=_local_time,
        faults=OFTEN,
        seen=frozenset({"too_young"}),
    ),
    "select_everything": Mutation(
        rule=16,
        what="the premise of a write reads all recipient columns, including phone numbers",
        apply=_select_everything,
        faults=OFTEN,
        seen=frozenset({"denied"}),
    ),
}
