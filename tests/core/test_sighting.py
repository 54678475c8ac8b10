"""What is remembered of a queue from look to look, and what it says against the next one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState, together
from campaign_ops.core.sighting import (
    Sighting,
    alarms_about,
    all_alarms,
    all_sighted,
    all_suspicions,
    confirmed,
    sighted,
    suspicions_about,
)
from tests.evidence import NOW, QUEUE, ago

SOUND = QueueState("sms-send", server_id="r1", job_counter=500)
GONE = replace(SOUND, exists=False, job_counter=0)


def after(*looks: QueueState | None, wanted: bool = False) -> Sighting | None:
    """What is remembered after these looks, one after another."""
    sighting = None
    for queue in looks:
        sighting = sighted(sighting, queue, NOW, wanted=wanted)
    return sighting


@pytest.mark.parametrize(
    ("server", "suspect"),
    [
        (None, False),
        (Sighting("r1", NOW), False),
        (Sighting("r1", NOW, server_trusted=False), True),
        (Sighting("r1", ago(minutes=30), server_trusted=False), True),
        (Sighting("r1", ago(minutes=31), server_trusted=False), False),
    ],
)
def test_another_redis_process_is_suspect_until_its_losses_had_time_to_show(
    server: Sighting | None, suspect: bool
) -> None:
    """A campaign looks stuck 15 min after its jobs were lost, so a sweep right after the restart sees nothing yet."""
    assert bool(suspicions_about(server, Policy(), NOW)) is suspect


@pytest.mark.parametrize(
    ("queue", "alarm"),
    [
        (QUEUE, False),
        (QueueState("sms-send", exists=False), True),
        (QueueState("sms-send", exists=False, problem="away"), False),
        (None, False),
    ],
)
def test_a_queue_that_does_not_exist_is_an_alarm_unless_it_could_not_be_read(
    queue: QueueState | None, alarm: bool
) -> None:
    assert bool(alarms_about(queue, None)) is alarm


@pytest.mark.parametrize(
    ("looks", "emptied"),
    [
        ([SOUND, GONE, SOUND], True),
        ([SOUND, replace(SOUND, job_counter=2)], True),
        ([SOUND, replace(SOUND, job_counter=2), replace(SOUND, job_counter=600)], True),
        ([SOUND, replace(SOUND, job_counter=501)], False),
        ([SOUND, replace(GONE, problem="away"), SOUND], False),
        ([GONE, SOUND], False),
        ([None, SOUND], False),
    ],
)
def test_a_queue_seen_emptied_stays_so_whatever_is_added_to_it(looks: list[QueueState | None], emptied: bool) -> None:
    assert bool(alarms_about(SOUND, after(*looks))) is emptied


def test_a_queue_that_never_existed_is_remembered_only_where_somebody_misses_jobs_of_it() -> None:
    assert not alarms_about(SOUND, after(GONE))
    assert alarms_about(SOUND, after(GONE, wanted=True))


def test_a_new_process_is_suspect_and_the_first_one_is_not() -> None:
    restarted = replace(SOUND, server_id="r2")
    assert not suspicions_about(after(SOUND, SOUND), Policy(), NOW)
    assert suspicions_about(after(SOUND, restarted), Policy(), NOW)
    assert suspicions_about(after(SOUND, restarted, restarted), Policy(), NOW)
    silent = replace(SOUND, server_id=None)
    assert suspicions_about(after(SOUND, silent, restarted), Policy(), NOW), "one that does not tell changes nothing"


@pytest.mark.parametrize(
    ("databases", "replaced"),
    [
        (["1/01"], False),
        (["1/01", "1/01"], False),
        (["1/01", None, "1/01"], False),
        ([None, "1/01"], False),
        (["1/01", "1/02"], True),
        (["1/01", "2/01", "2/01"], True),
        (["1/01", "1/02", "1/01"], True),
        (["1/01", "1/01/7/8", "1/01", "1/01/7/8"], False),  # an upgrade, and the way back
        (["1/01", "2/01/7/8"], True),
        (["1/01/7/8", "1/01/7/9"], True),
    ],
)
def test_another_database_beside_the_queue_is_an_alarm_where_something_would_be_put_back(
    databases: list[str | None], replaced: bool
) -> None:
    sighting = None
    for database_id in databases:
        sighting = sighted(sighting, SOUND, NOW, wanted=False, database_id=database_id)
    assert sighting is not None
    known = {SOUND.name: sighting}
    assert bool(all_alarms(SOUND, known, wanted={SOUND.name})) is replaced
    assert not all_alarms(SOUND, known)
    assert not all_alarms(SOUND, {SOUND.name: confirmed(sighting)}, wanted={SOUND.name})


def test_what_a_person_confirmed_is_believed_from_then_on() -> None:
    doubted = Sighting("r1", NOW, server_trusted=False, emptied="gone", database_replaced=True)
    assert confirmed(doubted) == Sighting("r1", NOW)


def test_a_process_is_first_seen_when_it_first_answers_and_stays_trusted() -> None:
    silent = replace(SOUND, server_id=None)
    first = sighted(None, silent, ago(hours=2), wanted=False)
    named = sighted(first, SOUND, ago(hours=1), wanted=False)
    assert named == Sighting("r1", ago(hours=1), job_counter=500)
    assert sighted(named, SOUND, NOW, wanted=False) == named
    assert sighted(named, replace(SOUND, server_id="r2"), NOW, wanted=False) == Sighting("r2", NOW, False, 500)


# -- several queues -------------------------------------------------------------------------------------------------

NORTH, SOUTH = replace(SOUND, name="q-north"), replace(SOUND, name="q-south")
NEVER = replace(GONE, name="q-east")


def several(*parts: QueueState) -> QueueState:
    return together("q-{tenant}", "q-{tenant}", parts)


def test_each_queue_is_remembered_by_its_name() -> None:
    def look(before: dict[str, Sighting], *parts: QueueState, wanted: tuple[str, ...] = ()) -> dict[str, Sighting]:
        return all_sighted(before, several(*parts), NOW, wanted=wanted, database_id="1/01")

    known = look({}, NORTH, SOUTH)
    assert known == {name: Sighting("r1", NOW, True, 500, database_id="1/01") for name in ("q-north", "q-south")}
    assert look(known, replace(NORTH, job_counter=2))["q-north"].emptied
    assert look(known, replace(NORTH, problem="half read")) == known, "an unreadable queue teaches nothing"
    assert all_sighted(known, None, NOW, wanted=(), database_id=None) == known
    assert not look({}, NEVER)["q-east"].emptied
    assert look({}, NEVER, wanted=("q-east",))["q-east"].emptied


@pytest.mark.parametrize(
    ("known", "wanted", "named"),
    [
        ({}, (), []),
        ({}, ("q-east",), ["q-east"]),
        ({"q-east": Sighting("r1", NOW, job_counter=5)}, (), ["q-east"]),
        ({"q-east": Sighting("r1", NOW)}, (), []),
        ({"q-north": Sighting("r1", NOW, emptied="gone")}, (), ["q-north"]),
        ({"q-east": Sighting("r1", NOW, emptied="gone")}, (), ["q-east"]),
    ],
)
def test_of_several_queues_one_that_was_never_used_is_no_alarm(
    known: dict[str, Sighting], wanted: tuple[str, ...], named: list[str]
) -> None:
    alarms = all_alarms(several(NORTH, NEVER), known, wanted=wanted)
    assert [alarm.split()[1] for alarm in alarms] == named
    assert all_alarms(several(NORTH, replace(NEVER, problem="half read")), known, wanted=wanted) == []


def test_a_database_that_one_queue_has_seen_replaced_is_an_alarm_for_all() -> None:
    known = {"q-north": Sighting("r1", NOW, job_counter=5), "q-south": Sighting("r1", NOW, database_replaced=True)}
    assert len(all_alarms(several(NORTH, SOUTH), known, wanted=["q-north"])) == 1
    assert all_alarms(None, {}, wanted=["q-north"]) == []


def test_a_restart_that_all_queues_have_seen_is_one_suspicion() -> None:
    new = Sighting("r2", NOW, server_trusted=False)
    assert len(all_suspicions({"q-north": new, "q-south": new}, Policy(), NOW)) == 1
    assert all_suspicions({"q-north": Sighting("r1", NOW)}, Policy(), NOW) == []
