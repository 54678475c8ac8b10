"""Faults inside the database: table locks, conflicts, deadlocks, a full disk where the report is stored."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from campaign_ops.journal import schema
from campaign_ops.lab.drill.faults.base import (
    SCHEMA,
    Fault,
    RepeatedAction,
    closing_quietly,
    define,
    end_our_sessions,
    qualified,
    role_of,
)

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

_LOCKED_ROWS = 10
# A waiting session checks for a deadlock once. When ours does, the other must be waiting too, and must check later.
_HOLDS_SECONDS, _WE_LOOK_AFTER = 0.1, "150ms"


class TableLock(Fault):
    """A session locks one of the platform's tables, as a migration does: for a minute in a long drill."""

    name = "table_lock"
    title = "a session locks a whole table and holds the lock"
    resources = frozenset({"table"})

    def __init__(self) -> None:
        self._connection: sa.Connection | None = None

    def duration(self, rng: random.Random, seconds: float) -> float:
        """A minute, but at most a twelfth of the drill, and at least three seconds."""
        return max(3.0, min(60.0, seconds / 12)) * rng.uniform(0.8, 1.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Lock a table in a session that does nothing else."""
        tables = rig.writer.tables
        table = qualified(rng.choice([tables.campaign, tables.recipient, tables.reservations]))
        self.end(rig)
        self._connection = rig.owner.connect()
        self._connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        self._connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        return f"a session locks {table} and holds the lock"

    def end(self, rig: Rig) -> None:  # noqa: ARG002
        """Roll the session back."""
        with closing_quietly(self._connection):
            self._connection = None


class SerializationFailures(Fault):
    """Our role defaults to serializable, another session writes the same rows, and every third write is refused."""

    name = "serialization_failures"
    title = "serialization failures (40001)"
    resources = frozenset({"role"})
    duration_seconds = (5.0, 9.0)

    def __init__(self) -> None:
        self._interference: RepeatedAction | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Change the role's default, end its sessions, write the same rows, refuse every third of its writes."""
        role, tables = role_of(rig), rig.writer.tables
        define(
            rig,
            f"ALTER ROLE {role} SET default_transaction_isolation = 'serializable'",
            f"CREATE SEQUENCE IF NOT EXISTS {SCHEMA}.conflicts",
            # A sequence does not roll back, so the retry of a refused write is not refused again.
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.conflict() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$"
            f" BEGIN IF session_user = '{role}' AND nextval('{SCHEMA}.conflicts') % 3 = 1 THEN"
            " RAISE EXCEPTION 'could not serialize access due to concurrent update' USING ERRCODE = '40001';"
            " END IF; RETURN NULL; END $$".replace("%", "%%"),
            *(
                f"CREATE OR REPLACE TRIGGER drill_conflict BEFORE UPDATE ON {qualified(table)}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.conflict()"
                for table in (tables.campaign, tables.reservations)
            ),
        )
        sessions = end_our_sessions(rig)
        if self._interference is None:
            self._interference = RepeatedAction(lambda: _rewrite(rig), 0.02).start()
        return f"{sessions} sessions were ended, new ones are serializable, and every third write conflicts"

    def end(self, rig: Rig) -> None:
        """Stop the other session and reset the role."""
        if self._interference is not None:
            self._interference.stop()
            self._interference = None
        tables = rig.writer.tables
        define(
            rig,
            f"ALTER ROLE {role_of(rig)} RESET default_transaction_isolation",
            *(
                f"DROP TRIGGER IF EXISTS drill_conflict ON {qualified(table)}"
                for table in (tables.campaign, tables.reservations)
            ),
        )
        end_our_sessions(rig)


class Deadlocks(Fault):
    """Another session locks credits first and campaigns second; campaign_ops locks them in the opposite order."""

    name = "deadlocks"
    title = "another session locks rows in the opposite order: deadlocks"
    resources = frozenset({"role"})
    duration_seconds = (5.0, 9.0)

    def __init__(self) -> None:
        self._interference: RepeatedAction | None = None

    def unavailable(self, rig: Rig) -> str | None:
        """Return why not: only a superuser may set ``deadlock_timeout``."""
        with rig.owner.connect() as connection:
            if connection.scalar(sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
                return super().unavailable(rig)
        return "the role of --database-url is not a superuser"

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Make campaign_ops the session that detects the deadlock, and so its victim; then lock in the wrong order."""
        define(rig, f"ALTER ROLE {role_of(rig)} SET deadlock_timeout = '{_WE_LOOK_AFTER}'")
        end_our_sessions(rig)
        if self._interference is None:
            self._interference = RepeatedAction(lambda: _lock_backwards(rig), 0.01).start()
        return "another session repeatedly locks credits first and campaigns second"

    def end(self, rig: Rig) -> None:
        """Stop the other session and reset the role."""
        if self._interference is not None:
            self._interference.stop()
            self._interference = None
        define(rig, f"ALTER ROLE {role_of(rig)} RESET deadlock_timeout")
        end_our_sessions(rig)


class DiskFullOnReport(Fault):
    """The report cannot be stored: no space is left. Repairs made before it must persist all the same."""

    name = "disk_full_on_report"
    title = "disk full (53100) where the report is stored"
    duration_seconds = (5.0, 9.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Refuse every report, as a full disk does."""
        define(
            rig,
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
            f"CREATE OR REPLACE TRIGGER drill_disk_full BEFORE INSERT ON {_REPORTS}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.disk_full()",
        )
        return f"the disk is full for {_REPORTS}"

    def end(self, rig: Rig) -> None:
        """Accept reports again."""
        define(rig, f"DROP TRIGGER IF EXISTS drill_disk_full ON {_REPORTS}")


_REPORTS = f"{schema.campaign_health.schema}.{schema.campaign_health.name}"


def _rewrite(rig: Rig) -> None:
    """Rewrite rows of sending campaigns and their credits without a change, and keep them locked for a moment."""
    tables = rig.writer.tables
    campaign, hold = tables.campaign, tables.reservations
    sending = campaign.c.status == rig.profile.campaign.words.sending
    chosen = sa.select(campaign.c.id).where(sending).order_by(sa.func.random()).limit(_LOCKED_ROWS).scalar_subquery()
    with rig.owner.begin() as connection:
        connection.execute(campaign.update().where(campaign.c.id.in_(chosen)).values(name=campaign.c.name))
        connection.execute(hold.update().where(hold.c.campaign_id.in_(chosen)).values(amount=hold.c.amount))
        time.sleep(0.02)


def _lock_backwards(rig: Rig) -> None:
    """Lock credits of sending campaigns, wait until a sweep has locked their campaigns, then lock those too."""
    tables = rig.writer.tables
    campaign, hold = tables.campaign, tables.reservations
    sending = campaign.c.status == rig.profile.campaign.words.sending
    held = sa.select(hold.c.campaign_id).join(campaign, campaign.c.id == hold.c.campaign_id).where(sending)
    with rig.owner.begin() as connection:
        connection.execute(sa.text("SET LOCAL deadlock_timeout = '10s'"))
        locked = connection.scalars(held.order_by(sa.func.random()).limit(_LOCKED_ROWS).with_for_update(of=hold)).all()
        time.sleep(_HOLDS_SECONDS)
        connection.execute(sa.select(campaign.c.id).where(campaign.c.id.in_(locked)).with_for_update())
