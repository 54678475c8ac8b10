"""Incidents in the database: one row for one cause, whoever looks, and what a person does about it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_ops.core.causes import Cause
from campaign_ops.core.errors import NotFound, Refused, StateSchemaError
from campaign_ops.core.incidents import Look, State, Symptom, What
from campaign_ops.journal.binding import rekey
from campaign_ops.queries.incidents import events as events_of
from campaign_ops.queries.incidents import incidents as listed
from campaign_ops.watch.incidents import acknowledge, resolve, silence, update
from tests.conftest import World, Worlds
from tests.watch.looking import bad, events, good, incidents, open_one

STUCK = Symptom(Cause.STUCK, count=3, campaigns=("c1", "c2", "c3"), tenants=("north",), detail="c1: lost")
STALE = Symptom(Cause.SWEEP_STALE, detail="the last sweep finished 2 h ago")


def age(world: World, **columns: timedelta) -> None:
    """Move moments of the only incident into the past."""
    for column, span in columns.items():
        query = sa.text(f"UPDATE campaign_ops.incident SET {column} = {column} - :span")
        with world.platform.database.transaction() as connection:
            connection.execute(query, {"span": span})


def test_an_incident_keeps_what_a_person_needs(sms: World) -> None:
    assert bad(sms, STUCK) == []
    assert bad(sms, STUCK) == [What.OPENED]
    (row,) = incidents(sms)
    assert (row["platform"], row["tables"]) == (sms.platform.name, sms.platform.profile.tables_key)
    assert (row["cause"], row["severity"], row["state"]) == ("stuck", "warning", "open")
    assert (row["count"], row["campaigns"], row["tenants"]) == (3, ["c1", "c2", "c3"], ["north"])
    assert row["first_seen_at"] < row["opened_at"] == row["last_seen_at"]
    assert events(sms) == [("opened", "watch", "c1: lost")]


def test_a_suspicion_leaves_nothing_behind(sms: World) -> None:
    bad(sms, STUCK)
    assert listed(sms.platform) == []
    assert [row["state"] for row in listed(sms.platform, everything=True)] == ["suspected"]
    good(sms, Cause.STUCK)
    assert incidents(sms) == []


def test_an_incident_that_comes_back_within_the_hour_is_the_same_row(sms: World) -> None:
    number = open_one(sms, STUCK)
    assert [good(sms, Cause.STUCK) for _ in range(3)] == [[], [], [What.RESOLVED]]
    assert listed(sms.platform) == []
    bad(sms, STUCK)
    assert bad(sms, STUCK) == [What.REOPENED]
    assert [(row["id"], row["state"], row["resolved_at"]) for row in incidents(sms)] == [(number, "open", None)]
    assert [what for what, _, _ in events(sms)] == ["opened", "resolved", "reopened"]


def test_one_that_comes_back_after_more_than_an_hour_is_a_new_row(sms: World) -> None:
    open_one(sms, STUCK)
    for _ in range(3):
        good(sms, Cause.STUCK)
    age(sms, resolved_at=timedelta(minutes=61))
    open_one(sms, STUCK)
    assert [row["state"] for row in incidents(sms)] == ["resolved", "open"]


def test_several_watchers_at_once_open_one_incident(sms: World) -> None:
    platforms = [sms.again() for _ in range(4)]
    together = threading.Barrier(len(platforms))

    def look(number: int) -> None:
        together.wait(10)
        update(platforms[number], Look((STALE,), {STALE.cause: ""}))

    threads = [threading.Thread(target=look, args=[number]) for number in range(len(platforms))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (row,) = incidents(sms)
    assert (row["state"], row["bad_looks"]) == ("open", 1)
    assert [what for what, _, _ in events(sms)] == ["opened"]


def test_two_platforms_in_one_database_have_incidents_of_their_own(sms: World) -> None:
    log = sms.platform.incidents
    open_one(sms, STUCK)
    other = type(log)("mail", "mail.Campaign")
    with sms.platform.database.transaction() as connection:
        assert other.known(connection, datetime(2000, 1, 1, tzinfo=UTC)) == {}
        assert list(log.known(connection, datetime(2000, 1, 1, tzinfo=UTC))) == [Cause.STUCK]


def test_without_our_schema_nothing_is_judged(worlds: Worlds) -> None:
    world = worlds.make("sms", migrated=False)
    with pytest.raises(StateSchemaError, match="does not exist"):
        update(world.platform, Look((STALE,), {STALE.cause: ""}))


# -- people ---------------------------------------------------------------------------------------------------------


def test_who_acknowledges_and_why_stands_in_the_journal(sms: World) -> None:
    number = open_one(sms, STUCK)
    assert acknowledge(sms.platform, number, by="ann", reason="TICKET-12").state is State.ACKNOWLEDGED
    (row,) = listed(sms.platform)
    assert (row["state"], row["handled_by"], row["handled_reason"]) == ("acknowledged", "ann", "TICKET-12")
    assert row["handled_at"] is not None
    assert events(sms)[-1] == ("acknowledged", "ann", "TICKET-12")
    assert [event["what"] for event in events_of(sms.platform, number)] == ["opened", "acknowledged"]
    age(sms, notified_at=timedelta(hours=9))
    assert bad(sms, STUCK) == []
    assert incidents(sms)[0]["handled_by"] == "ann"


def test_a_silence_ends_by_the_clock_of_the_database(sms: World) -> None:
    number = open_one(sms, STUCK)
    silence(sms.platform, number, until=timedelta(hours=2), by="ann", reason="known")
    assert bad(sms, STUCK) == []
    age(sms, silenced_until=timedelta(hours=3))
    assert bad(sms, STUCK) == [What.REPEATED]
    assert incidents(sms, "state", "silenced_until") == [{"state": "open", "silenced_until": None}]


def test_a_silence_into_the_past_is_refused(sms: World) -> None:
    number = open_one(sms, STUCK)
    with pytest.raises(Refused, match="has passed"):
        silence(sms.platform, number, until=datetime(2020, 1, 1, tzinfo=UTC), by="ann", reason="late")
    assert incidents(sms, "state") == [{"state": "open"}]


def test_what_a_person_resolves_is_over_until_it_is_seen_again(sms: World) -> None:
    number = open_one(sms, STUCK)
    resolve(sms.platform, number, by="ann", reason="mended")
    assert listed(sms.platform) == []
    assert events(sms)[-1] == ("resolved", "ann", "mended")
    bad(sms, STUCK)
    assert bad(sms, STUCK) == [What.REOPENED]
    assert incidents(sms)[0]["id"] == number


def test_what_is_over_or_unknown_cannot_be_handled(sms: World) -> None:
    bad(sms, STUCK)
    (suspected,) = incidents(sms)
    with pytest.raises(Refused, match="is suspected"):
        acknowledge(sms.platform, suspected["id"], by="ann", reason="why")
    number = open_one(sms, STALE)
    resolve(sms.platform, number, by="ann", reason="mended")
    with pytest.raises(Refused, match="is resolved"):
        resolve(sms.platform, number, by="ann", reason="again")


@contextmanager
def lost_answer() -> Iterator[None]:
    """Lose the answer to the next commit of an incident's event, once."""
    lost: list[int] = []

    def lose(connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        mine = "SELECT id FROM campaign_ops.incident_event WHERE xmin = pg_current_xact_id()::xid"
        if not lost and (row := driver.execute(mine).fetchone()):
            lost.append(row[0])
            driver.execute("COMMIT")
            driver.close()

    sa.event.listen(sa.Engine, "commit", lose)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "commit", lose)
    assert lost, "no commit was lost"


@pytest.mark.slow  # 1.6 s: after each lost answer the retry waits
def test_what_a_person_did_is_done_once_though_the_answer_to_its_commit_was_lost(sms: World) -> None:
    """The retry found what the first try had written and refused: "is resolved, not open"."""
    number = open_one(sms, STUCK)
    with lost_answer():
        assert acknowledge(sms.platform, number, by="ann", reason="on it").state is State.ACKNOWLEDGED
    with lost_answer():
        assert resolve(sms.platform, number, by="ann", reason="mended").state is State.RESOLVED
    assert [what for what, *_ in events(sms)][-2:] == ["acknowledged", "resolved"]
    with pytest.raises(Refused, match="is resolved, not open"):
        resolve(sms.platform, number, by="ann", reason="mended")
    with pytest.raises(NotFound):
        silence(sms.platform, 999, until=timedelta(hours=1), by="ann", reason="why")
    with pytest.raises(NotFound):
        events_of(sms.platform, 999)


# -- keeping --------------------------------------------------------------------------------------------------------


def test_incidents_that_ended_long_ago_are_forgotten_and_open_ones_kept(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"history_days": 2})
    resolve(world.platform, open_one(world, STUCK), by="ann", reason="mended")
    open_one(world, STALE)
    age(world, opened_at=timedelta(days=9), first_seen_at=timedelta(days=9), resolved_at=timedelta(days=1))
    world.sweep()
    assert len(incidents(world)) == 2
    age(world, resolved_at=timedelta(days=2))
    world.rows(
        "UPDATE campaign_ops.sweep SET started_at = started_at - interval '1 hour' RETURNING 1"
    )  # it prunes again
    world.sweep()
    assert [row["cause"] for row in incidents(world)] == ["sweep_stale"]
    assert [what for what, _, _ in events(world)] == ["opened"]


def test_a_renamed_table_keeps_its_incidents_and_never_has_two_of_one_cause(sms: World) -> None:
    number = open_one(sms, STUCK)
    open_one(sms, STALE)
    key = sms.platform.profile.tables_key
    with sms.platform.database.transaction() as connection:
        rekey(connection, key, "public.Renamed")
    moved = type(sms.platform.incidents)("sms", "public.Renamed")
    bad(sms, STALE)
    with sms.platform.database.transaction() as connection:
        rekey(connection, key, "public.Renamed")
        known = moved.known(connection, datetime(2000, 1, 1, tzinfo=UTC))
    assert known[Cause.STUCK].id == number
    states = sms.rows("SELECT state FROM campaign_ops.incident WHERE cause = 'sweep_stale' ORDER BY id")
    assert [row["state"] for row in states] == ["open", "resolved"]
