"""Faults inside the database: locks that somebody holds, conflicts, deadlocks, a full disk on the report path."""

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
# Who waits looks for a deadlock once: when we do, the other has to be waiting too, and to look later.
_HOLDS_SECONDS, _WE_LOOK_AFTER = 0.1, "150ms"


class TableLock(Fault):
    """Somebody's session holds one of the platform's tables, as a migration does: a minute in a long drill."""

    name = "table_lock"
    title = "a session locks a whole table, and holds it"
    holds = frozenset({"table"})

    def __init__(self) -> None:
        self._connection: sa.Connection | None = None

    def duration(self, rng: random.Random, seconds: float) -> float:
        """A minute, but no more than a twelfth of the drill, and three seconds at least."""
        return max(3.0, min(60.0, seconds / 12)) * rng.uniform(0.8, 1.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Lock a table in a session of its own, which does nothing else."""
        tables = rig.writer.tables
        table = qualified(rng.choice([tables.campaign, tables.recipient, tables.reservations]))
        self.end(rig)
        self._connection = rig.owner.connect()
        self._connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        self._connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        return f"a session locks {table} and holds it"

    def end(self, rig: Rig) -> None:  # noqa: ARG002
        """The session rolls back."""
        with closing_quietly(self._connection):
            self._connection = None


class SerializationFailures(Fault):
    """Our role becomes serializable by default, somebody writes the same rows, and every third write is refused."""

    name = "serialization_failures"
    title = "serialization failures (40001)"
    holds = frozenset({"role"})
    lasts_seconds = (5.0, 9.0)

    def __init__(self) -> None:
        self._interference: RepeatedAction | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Change the role's default, throw its sessions out, meddle with its rows, refuse what it writes."""
        role, tables = role_of(rig), rig.writer.tables
        define(
            rig,
            f"ALTER ROLE {role} SET default_transaction_isolation = 'serializable'",
            f"CREATE SEQUENCE IF NOT EXISTS {SCHEMA}.conflicts",
            # A sequence does not roll back: the retry of what was refused is not refused again.
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
        return f"{sessions} sessions of ours were ended, new ones are serializable, and every third write conflicts"

    def end(self, rig: Rig) -> None:
        """The role is as it was, and nobody meddles."""
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
    """Somebody locks credits first and campaigns second; we lock them the other way round."""

    name = "deadlocks"
    title = "somebody locks rows in the opposite order: deadlocks"
    holds = frozenset({"role"})
    lasts_seconds = (5.0, 9.0)

    def __init__(self) -> None:
        self._interference: RepeatedAction | None = None

    def unavailable(self, rig: Rig) -> str | None:
        """Only a superuser says who looks for deadlocks when."""
        with rig.owner.connect() as connection:
            if connection.scalar(sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
                return super().unavailable(rig)
        return "the given role is no superuser"

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Let our side be the one that notices, and with that the victim; then meddle."""
        define(rig, f"ALTER ROLE {role_of(rig)} SET deadlock_timeout = '{_WE_LOOK_AFTER}'")
        end_our_sessions(rig)
        if self._interference is None:
            self._interference = RepeatedAction(lambda: _lock_backwards(rig), 0.01).start()
        return "somebody locks credits first and campaigns second, again and again"

    def end(self, rig: Rig) -> None:
        """Nobody meddles, and the role is as it was."""
        if self._interference is not None:
            self._interference.stop()
            self._interference = None
        define(rig, f"ALTER ROLE {role_of(rig)} RESET deadlock_timeout")
        end_our_sessions(rig)


class DiskFullOnReport(Fault):
    """The report cannot be stored: no space is left. What was repaired before has to stand all the same."""

    name = "disk_full_on_report"
    title = "disk full (53100) where the report is stored"
    lasts_seconds = (5.0, 9.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Refuse every report as a full disk does."""
        define(
            rig,
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
            f"CREATE OR REPLACE TRIGGER drill_disk_full BEFORE INSERT ON {_REPORTS}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.disk_full()",
        )
        return f"the disk is full for {_REPORTS}"

    def end(self, rig: Rig) -> None:
        """There is space again."""
        define(rig, f"DROP TRIGGER IF EXISTS drill_disk_full ON {_REPORTS}")


_REPORTS = f"{schema.campaign_health.schema}.{schema.campaign_health.name}"


def _rewrite(rig: Rig) -> None:
    """Write rows of sending campaigns and their credits anew, without a change, and hold them for a moment."""
    tables = rig.writer.tables
    campaign, hold = tables.campaign, tables.reservations
    sending = campaign.c.status == rig.profile.campaign.words.sending
    some = sa.select(campaign.c.id).where(sending).order_by(sa.func.random()).limit(_LOCKED_ROWS).scalar_subquery()
    with rig.owner.begin() as connection:
        connection.execute(campaign.update().where(campaign.c.id.in_(some)).values(name=campaign.c.name))
        connection.execute(hold.update().where(hold.c.campaign_id.in_(some)).values(amount=hold.c.amount))
        time.sleep(0.02)


def _lock_backwards(rig: Rig) -> None:
    """Lock credits of sending campaigns, wait until somebody holds their campaigns, and want those too."""
    tables = rig.writer.tables
    campaign, hold = tables.campaign, tables.reservations
    sending = campaign.c.status == rig.profile.campaign.words.sending
    held = sa.select(hold.c.campaign_id).join(campaign, campaign.c.id == hold.c.campaign_id).where(sending)
    with rig.owner.begin() as connection:
        connection.execute(sa.text("SET LOCAL deadlock_timeout = '10s'"))
        mine = connection.scalars(held.order_by(sa.func.random()).limit(_LOCKED_ROWS).with_for_update(of=hold)).all()
        time.sleep(_HOLDS_SECONDS)
        connection.execute(sa.select(campaign.c.id).where(campaign.c.id.in_(mine)).with_for_update())
