"""What is remembered of a queue from look to look, and what it says against the next one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.sighting import Sighting, alarms_about, all_alarms, confirmed, sighted, suspicions_about
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
