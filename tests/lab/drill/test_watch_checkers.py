"""Every figure about the watcher fails when its damage is planted, names it, and holds when all is well."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from campaign_ops.core.causes import Cause, Severity
from campaign_ops.core.incidents import Look, Symptom
from campaign_ops.core.notices import Message
from campaign_ops.faces.logs import JsonFormatter
from campaign_ops.lab.drill.checkers import Figure, Records, watching
from campaign_ops.lab.drill.ledger import END, FAULT, REDIS_LOSS
from campaign_ops.lab.drill.receiver import RECEIVED, WATCH_LOG, Receiver
from campaign_ops.lab.drill.watcher import LIMITS, RULES, STALE_AFTER_SECONDS
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.watch.channels import Channel, Notify
from campaign_ops.watch.incidents import update
from campaign_ops.watch.notify import send_due
from campaign_ops.watch.sending import send
from campaign_ops.watch.watcher import Watch, Watched, Watcher
from tests.conftest import Worlds
from tests.lab.drill.checked_world import POLICY, CheckedWorld, checked_world

pytestmark = pytest.mark.slow

HASTY = replace(RULES, same_look_seconds=0)
AWAY = Symptom(Cause.QUEUE_UNREADABLE, detail="connection refused")


@dataclass
class Stage:
    """A world with a ledger, a receiver, and the log of the watchers that look at it in this process."""

    checked: CheckedWorld
    receiver: Receiver

    @property
    def notify(self) -> Notify:
        return Notify(channels=(Channel(name="oncall", url=SecretStr(self.receiver.url)),))

    def tick(self, times: int = 1, *, stale_after_seconds: int = STALE_AFTER_SECONDS) -> None:
        """Let a watcher look so often; nothing is stale, as time does not pass here."""
        platforms = [Watched(self.checked.world.platform.name, self.checked.connect)]
        watcher = Watcher(Watch(platforms, self.notify, stale_after_seconds=stale_after_seconds), HASTY, LIMITS)
        for _ in range(times):
            watcher.tick()

    def see(self, *symptoms: Symptom, good: tuple[Cause, ...] = (), times: int = 2) -> None:
        """Update incidents with a look that saw this, and send what is due."""
        judged = {symptom.cause: "" for symptom in symptoms} | dict.fromkeys(good, "")
        for _ in range(times):
            update(self.checked.world.platform, Look(symptoms, judged), self.notify, rules=HASTY)
        send_due(self.checked.world.platform, self.notify.channels, limits=LIMITS)

    def unknown_word(self) -> None:
        """Write a campaign that waits for a person."""
        self.checked.world.app.add_campaign("odd", pending=1)
        self.checked.owner("UPDATE \"CampaignRecipient\" SET status = 'bounced' WHERE \"campaignId\" = 'odd'")


@pytest.fixture
def stage(worlds: Worlds, work_dir: Path) -> Iterator[Stage]:
    checked = checked_world(worlds.make("sms", policy=POLICY), work_dir)
    logger, handler = logging.getLogger("campaign_ops.watch.watcher"), logging.FileHandler(work_dir / WATCH_LOG)
    handler.setFormatter(JsonFormatter())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with Receiver(work_dir / RECEIVED) as receiver:
        yield Stage(checked, receiver)
    logger.removeHandler(handler)
    logger.setLevel(level)
    handler.close()


Checker = Callable[[Records], Figure]
ALL = (
    watching.incidents_doubled,
    watching.incidents_false,
    watching.incidents_missed,
    watching.incidents_left,
    watching.notified_twice,
    watching.not_notified,
    watching.looked,
)


def fails(stage: Stage, figure: Checker, *words: str) -> None:
    """Assert that the figure fails, and that one of its examples contains all of these words."""
    result = stage.checked.check(figure)
    assert not result.holds
    assert any(all(word in example for word in words) for example in result.examples), result.examples


def holds(stage: Stage, *figures: Checker) -> None:
    records = stage.checked.records()
    results = [figure(records) for figure in figures]
    assert [result for result in results if not result.holds] == []


def test_every_figure_holds_while_a_cause_comes_and_goes(stage: Stage) -> None:
    stage.checked.world.sweep()
    stage.tick(3)
    holds(stage, *ALL)
    stage.unknown_word()
    stage.checked.ledger.note(FAULT, "unknown_word")
    for _ in range(3):
        stage.checked.world.sweep()
        stage.tick()
    holds(stage, *ALL)
    assert stage.checked.check(watching.incidents_left).found == "0 (+ 1 for a person)"
    assert "unknown_word" in stage.checked.check(watching.noticed).found
    stage.checked.owner("UPDATE \"CampaignRecipient\" SET status = 'delivered' WHERE status = 'bounced'")
    for _ in range(4):
        stage.checked.world.sweep()
        stage.tick()
    holds(stage, *ALL)
    assert stage.checked.check(watching.incidents_left).found == "0"
    found = "1 x unknown_word; 2 messages, 0 of them sent while the database was away"
    assert stage.checked.check(watching.notified).found == found


def test_a_drill_without_a_watcher_says_so(worlds: Worlds, work_dir: Path) -> None:
    records = checked_world(worlds.make("sms", policy=POLICY), work_dir).records()
    assert watching.looked(records).found == "the drill ran without a watcher"
    assert all(figure(records).holds for figure in ALL)


def test_a_second_incident_of_a_cause_is_named(stage: Stage) -> None:
    stage.see(AWAY)
    stage.see(good=(Cause.QUEUE_UNREADABLE,), times=3)
    stage.see(AWAY)
    holds(stage, watching.incidents_doubled)
    stage.checked.owner(
        "INSERT INTO campaign_ops.incident (platform, tables, cause, severity, state, first_seen_at, last_seen_at,"
        " looked_at, opened_at, resolved_at) SELECT platform, tables, cause, severity, 'resolved', now(), now(), now(),"
        " now(), now() FROM campaign_ops.incident"
    )
    fails(stage, watching.incidents_doubled, "queue_unreadable", "beside incident 1")


def test_an_incident_that_was_opened_twice_is_named(stage: Stage) -> None:
    stage.see(AWAY)
    stage.checked.owner(
        "INSERT INTO campaign_ops.incident_event (incident_id, what, actor, severity, count)"
        " SELECT id, 'reopened', 'watch', 'critical', 0 FROM campaign_ops.incident"
    )
    fails(stage, watching.incidents_doubled, "queue_unreadable: reopened", "without an end")


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (Cause.QUEUE_UNREADABLE, "hang_redis"),
        (Cause.DATABASE_AWAY, "restart_postgres"),
        (Cause.WORKERS_RESTARTING, "restart_workers"),
    ],
)
def test_an_incident_without_its_fault_is_false(stage: Stage, cause: Cause, fault: str) -> None:
    stage.checked.ledger.note(FAULT, "lose_jobs")
    stage.see(Symptom(cause, count=7, detail="a mistake"))
    fails(stage, watching.incidents_false, cause, "a mistake")
    stage.checked.owner("TRUNCATE campaign_ops.incident CASCADE")
    stage.checked.ledger.note(FAULT, fault)
    stage.checked.ledger.note(END, fault)
    stage.see(Symptom(cause, count=7))
    holds(stage, watching.incidents_false)


def test_a_fault_of_long_ago_explains_nothing(stage: Stage) -> None:
    stage.checked.ledger.note(FAULT, "drop_connections")
    stage.see(Symptom(Cause.DATABASE_AWAY))
    holds(stage, watching.incidents_false)
    stage.checked.owner("UPDATE drill.mark SET at = at - interval '1 minute'")
    fails(stage, watching.incidents_false, "database_away")


def test_a_queue_that_lost_nothing_was_not_emptied(stage: Stage) -> None:
    stage.see(Symptom(Cause.QUEUE_EMPTIED))
    fails(stage, watching.incidents_false, "queue_emptied")
    stage.checked.owner("TRUNCATE campaign_ops.incident CASCADE")
    stage.checked.ledger.note(REDIS_LOSS, "lost")
    stage.see(Symptom(Cause.QUEUE_EMPTIED))
    holds(stage, watching.incidents_false)


@pytest.mark.parametrize("cause", [Cause.NO_WORKERS, Cause.QUEUE_PAUSED, Cause.BACKLOG, Cause.CONFIGURATION_BROKEN])
def test_what_no_drill_lasts_for_is_false(stage: Stage, cause: Cause) -> None:
    for name in ("pause_queue", "restart_workers", "hang_worker"):
        stage.checked.ledger.note(FAULT, name)
    stage.see(replace(AWAY, cause=cause, lasting_seconds=0))
    fails(stage, watching.incidents_false, cause)


@pytest.mark.parametrize("cause", [Cause.UNKNOWN_WORD, Cause.QUARANTINED, Cause.STUCK, Cause.BREAKER])
def test_what_no_plan_shows_is_false(stage: Stage, cause: Cause) -> None:
    stage.checked.world.app.add_campaign("young", pending=1, updated_ago=hours(0))
    stage.checked.world.sweep()
    stage.see(Symptom(cause, count=1))
    fails(stage, watching.incidents_false, cause)


def test_a_watcher_that_calls_a_fresh_sweep_stale_is_seen(stage: Stage) -> None:
    stage.checked.world.sweep()
    time.sleep(1.1)
    stage.tick(stale_after_seconds=0)
    stage.checked.owner(
        "UPDATE campaign_ops.incident_event SET at = (SELECT finished_at + interval '2.5 s' FROM campaign_ops.sweep)"
    )
    fails(stage, watching.incidents_false, "sweep_stale")
    (sweep,) = stage.checked.world.rows("SELECT run_id, finished_at FROM campaign_ops.sweep")
    ended = sweep["finished_at"].timestamp() + 2  # its last transaction took so long to commit
    stage.checked.write_sweeps("slow", {"run_id": sweep["run_id"], "ended": ended})
    assert stage.checked.check(watching.incidents_false).holds
    stage.checked.write_sweeps("slow")
    stage.checked.owner("UPDATE campaign_ops.sweep SET figures = '{}'")  # as that of a fix by a person
    assert stage.checked.check(watching.incidents_false).holds


def test_a_cause_that_is_in_every_plan_and_has_no_incident_is_missed(stage: Stage) -> None:
    stage.unknown_word()
    stage.checked.world.sweep()
    lines = [{"at": datetime.now(UTC).isoformat(), "message": "looked at 1 platform"}] * 4
    log = stage.checked.work_dir / WATCH_LOG
    log.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    holds(stage, watching.incidents_missed)  # too soon
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fails(stage, watching.incidents_missed, "unknown_word")
    for _ in range(2):
        stage.tick()
        stage.checked.world.sweep()
    holds(stage, watching.incidents_missed)


def test_a_time_without_sweeps_and_without_an_incident_is_missed(stage: Stage) -> None:
    stage.checked.world.sweep()
    stage.checked.owner("UPDATE campaign_ops.sweep SET finished_at = now() - interval '30 seconds'")
    stage.checked.world.sweep()
    holds(stage, watching.incidents_missed)  # no watcher could notice it
    looked = {"at": datetime.fromtimestamp(time.time() - 20, UTC).isoformat(), "message": "looked at 1 platform"}
    log = stage.checked.work_dir / WATCH_LOG
    log.write_text(json.dumps(looked) + "\n")
    fails(stage, watching.incidents_missed, "sweep_stale: no sweep finished")
    stage.see(Symptom(Cause.SWEEP_STALE), times=1)
    for ago in (20, 40):  # in that time, and before it
        stage.checked.owner(f"UPDATE campaign_ops.incident_event SET at = now() - interval '{ago} seconds'")
        holds(stage, watching.incidents_missed)
    stage.see(good=(Cause.SWEEP_STALE,), times=3)
    stage.checked.owner(
        "UPDATE campaign_ops.incident_event SET at = at - interval '40 seconds' WHERE what = 'resolved'"
    )
    fails(stage, watching.incidents_missed, "sweep_stale: no sweep finished")


def test_an_incident_whose_cause_is_gone_is_named_until_it_is_resolved(stage: Stage) -> None:
    stage.see(AWAY)
    fails(stage, watching.incidents_left, "incident 1 (queue_unreadable)")
    stage.see(good=(Cause.QUEUE_UNREADABLE,), times=3)
    holds(stage, watching.incidents_left)


def test_a_message_that_came_twice_is_named(stage: Stage) -> None:
    stage.see(AWAY)
    holds(stage, watching.notified_twice)
    (row,) = stage.checked.world.rows("SELECT subject, body FROM campaign_ops.notification")
    (channel,) = stage.notify.channels
    assert send(channel, Message(row["subject"], row["body"], Severity.CRITICAL)) == ""
    fails(stage, watching.notified_twice, "1 too many", "the queue cannot be read")


def test_a_second_message_is_accounted_for_by_a_second_try(stage: Stage) -> None:
    stage.see(AWAY)
    stage.checked.owner(
        "UPDATE campaign_ops.notification SET sent_at = NULL, claimed_at = now() - interval '6 minutes'"
    )
    send_due(stage.checked.world.platform, stage.notify.channels)
    holds(stage, watching.notified_twice, watching.not_notified)
    assert stage.checked.check(watching.notified_twice).found == "0 (1 may have come before, and said so)"
    stage.checked.owner("UPDATE campaign_ops.notification SET attempts = 1")
    fails(stage, watching.notified_twice, "without a second try")


def test_what_was_told_without_the_database_comes_once_in_the_life_of_a_watcher(stage: Stage) -> None:
    text = "Platform sms: the database is away.\nNot recorded: the database cannot be written"
    stage.receiver.take("[critical] sms: the database is away", text)
    stage.receiver.take("[critical] sms: resolved: the database is away", text)
    stage.receiver.take("[critical] sms: the database is away", text)
    holds(stage, watching.notified_twice)
    stage.checked.ledger.note(FAULT, "stop_watcher")
    stage.checked.ledger.note(END, "stop_watcher")
    stage.receiver.take("[critical] sms: the database is away", text)
    holds(stage, watching.notified_twice)
    stage.receiver.take("[critical] sms: the database is away", text)
    fails(stage, watching.notified_twice, "twice: [critical] sms: the database is away")


def test_a_notification_that_did_not_arrive_is_named(stage: Stage) -> None:
    stage.see(AWAY)
    holds(stage, watching.not_notified)
    (stage.checked.work_dir / RECEIVED).write_text("")
    fails(stage, watching.not_notified, "1 missing", "the queue cannot be read")


def test_a_notification_that_was_never_sent_is_named(stage: Stage) -> None:
    update(stage.checked.world.platform, Look((AWAY,), {AWAY.cause: ""}), stage.notify, rules=HASTY)
    update(stage.checked.world.platform, Look((AWAY,), {AWAY.cause: ""}), stage.notify, rules=HASTY)
    fails(stage, watching.not_notified, "not sent", "the queue cannot be read")


def test_without_looks_up_to_the_end_the_absence_of_damage_proves_nothing(stage: Stage) -> None:
    assert not stage.checked.check(watching.looked).holds
    stage.checked.world.sweep()
    stage.tick()
    holds(stage, watching.looked)
    log = stage.checked.work_dir / WATCH_LOG
    early = {"at": "2026-01-01T00:00:00+00:00", "message": "looked at 1 platform"}
    log.write_text(json.dumps(early) + "\n{half a li")
    assert "the last " in stage.checked.check(watching.looked).found
    assert not stage.checked.check(watching.looked).holds
