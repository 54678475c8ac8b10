"""The connection is lost while a commit is answered: what was written is reported, and what is not known as unknown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import CommitUnknown
from campaign_ops.fixes.ambiguous import send_again, take_as_sent
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person, locked
from campaign_ops.fixes.rebind import rebind
from campaign_ops.lab.shop.row_writer import hours
from tests.conftest import World

pytestmark = pytest.mark.slow  # 7 s: each lost answer is followed by real reconnects

ANN = Person("ann", "TICKET-1", "run-1")


@contextmanager
def lost_answer(world: World, *, kind: str, then_away: bool = False) -> Iterator[list[int]]:
    """Lose the answer to the first commit of a repair of this kind; with ``then_away`` nobody can connect after it."""
    lost: list[int] = []

    def lose(connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if lost or driver.execute("SELECT to_regclass('campaign_ops.repair')").fetchone()[0] is None:
            return
        mine = "SELECT id FROM campaign_ops.repair WHERE kind = %s AND xmin = pg_current_xact_id()::xid"
        if row := driver.execute(mine, (kind,)).fetchone():
            lost.append(row[0])
            driver.execute("COMMIT")
            if then_away:
                allow(world, connections=False)
            driver.close()

    sa.event.listen(sa.Engine, "commit", lose)
    try:
        yield lost
    finally:
        sa.event.remove(sa.Engine, "commit", lose)
        allow(world, connections=True)


def allow(world: World, *, connections: bool) -> None:
    url = sa.make_url(world.url)
    engine = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS {str(connections).lower()}"))
    engine.dispose()


def test_a_sweep_counts_what_a_lost_commit_has_written(sms: World) -> None:
    """The report had "completed 1 (1 changed meanwhile)", and the step's own figures had 0 and 1."""
    sms.app.add_campaign("done", succeeded=2)
    sms.app.add_reservation("hold", campaign="done", amount=5)
    sms.app.add_reservation("leak", campaign=None, amount=3, created_ago=hours(99))
    with lost_answer(sms, kind="complete") as lost:
        report = sms.sweep()
    assert lost
    assert [(line.done, line.detail) for line in report.repairs if line.done] == [(1, ""), (2, "1 with their campaign")]
    figures = sms.rows("SELECT figures->'completed_campaigns' AS it FROM campaign_ops.sweep ORDER BY id DESC LIMIT 1")
    assert (figures[0]["it"]["done"], figures[0]["it"]["left"], figures[0]["it"]["failures"]) == (1, 0, [])


def test_a_fix_says_what_a_lost_commit_has_written_and_once(sms: World) -> None:
    """Recipients that were taken as sent were reported as "they changed while we looked; nothing was done"."""
    for name in ("taken", "again"):
        sms.app.add_campaign(name, pending=2)
        sms.queue.mark(sms.app.pending_ids(name))
    with lost_answer(sms, kind="take_as_sent") as lost:
        fix = take_as_sent(sms.platform, "taken", ANN)
    assert (fix.repair_ids, fix.message) == (tuple(lost), "2 recipients of campaign taken now count as sent")
    with lost_answer(sms, kind="send_again") as lost:
        fix = send_again(sms.platform, "again", ANN)
    assert fix.repair_ids[0] == lost[0]
    assert len(sms.queue.live_job_ids()) == 1
    with lost_answer(sms, kind="bind") as lost:
        fix = rebind(sms.platform, "public.Campaign", ANN)
    assert fix.repair_ids == tuple(lost)
    kinds = [row["kind"] for row in sms.rows("SELECT kind FROM campaign_ops.repair ORDER BY id")]
    assert kinds == ["take_as_sent", "send_again", "reenqueue", "bind"]


def test_what_cannot_be_known_is_called_unknown(sms: World) -> None:
    """It was "this database accepts no connections now", as if nothing could have been written."""
    sms.app.add_campaign("done", succeeded=2)
    with lost_answer(sms, kind="complete", then_away=True), pytest.raises(CommitUnknown, match="is unknown"):
        mark_complete(sms.platform, "done", ANN)
    assert sms.app.campaign("done")["status"] == "sent"


def test_a_fix_stands_although_its_lock_does_not_end_in_order(sms: World) -> None:
    """Its own commit was answered, and the person was told that the connection was lost."""
    with locked(sms.platform) as lock:
        driver: Any = lock.connection.connection.driver_connection
        driver.close()
