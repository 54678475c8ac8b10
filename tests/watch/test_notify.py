"""Notifications: real receivers get each change once, and a receiver that is away loses nothing and stops nothing."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.core.causes import Cause, Severity
from campaign_ops.core.errors import StateSchemaError
from campaign_ops.core.incidents import Symptom, What
from campaign_ops.core.notices import Message
from campaign_ops.journal import schema
from campaign_ops.watch.channels import Channel, Notify
from campaign_ops.watch.incidents import acknowledge, resolve
from campaign_ops.watch.notify import Limits, send_due
from campaign_ops.watch.sending import check, send
from tests.conftest import World, Worlds
from tests.watch.looking import bad, events, good, open_one
from tests.watch.receivers import SECRET, Received, free_port, mail_server, webhook

STUCK = Symptom(Cause.STUCK, count=3, campaigns=("c1", "c2", "c3"), tenants=("north",), detail="c1: lost")
AWAY = Symptom(Cause.QUEUE_UNREADABLE, detail="connection refused")
TEXT = Message("a subject", "a body", Severity.WARNING)


@pytest.fixture
def hook() -> Iterator[Received]:
    with webhook() as received:
        yield received


@pytest.fixture
def mail() -> Iterator[Received]:
    with mail_server() as received:
        yield received


def nowhere(name: str = "away") -> Channel:
    return Channel(name=name, url=SecretStr(f"json://127.0.0.1:{free_port()}/{SECRET}"))


def to(*channels: Channel, link: str = "") -> Notify:
    return Notify(channels=channels, link=link)


def outbox(world: World, *columns: str) -> list[dict[str, Any]]:
    return world.rows(f"SELECT {', '.join(columns)} FROM campaign_ops.notification ORDER BY id")


def make_due(world: World, **ages: timedelta) -> None:
    """Let time pass for what waits."""
    ages = ages or {"not_before": timedelta(hours=1)}
    with world.platform.database.transaction() as connection:
        for column, span in ages.items():
            query = sa.text(f"UPDATE campaign_ops.notification SET {column} = {column} - :span WHERE sent_at IS NULL")
            connection.execute(query, {"span": span})


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_a_webhook_hears_of_an_incident_and_of_its_end_once_each(sms: World, hook: Received) -> None:
    notify = to(hook.channel(), link="https://ops.example.com/incidents")
    number = open_one(sms, STUCK, notify)
    assert send_due(sms.platform, notify.channels).sent == 1
    assert send_due(sms.platform, notify.channels).sent == 0
    (message,) = hook.messages
    assert message["title"] == "[warning] sms: campaigns are stuck for too long (3 campaigns)"
    assert message["type"] == "warning"
    for words in (
        "Platform sms: campaigns are stuck for too long (3 campaigns).",
        "Since 20",
        " UTC.",
        "Evidence: c1: lost",
        "Campaigns: c1, c2, c3",
        "Next step: campaign-ops status --platform sms says why for each",
        f"campaign-ops acknowledge {number} --platform sms --reason WHY",
        f"Incident {number}, https://ops.example.com/incidents",
    ):
        assert words in message["message"]
    for _ in range(3):
        good(sms, Cause.STUCK, notify=notify)
    send_due(sms.platform, notify.channels)
    assert hook.messages[1]["title"] == "[warning] sms: resolved: campaigns are stuck for too long"
    assert hook.messages[1]["type"] == "success"
    assert len(hook.messages) == 2


def test_mail_arrives(sms: World, mail: Received) -> None:
    notify = to(mail.channel())
    open_one(sms, AWAY, notify)
    assert send_due(sms.platform, notify.channels).sent == 1
    (message,) = mail.messages
    assert message["title"] == "[critical] sms: the queue cannot be read"
    assert message["to"] == ["ann@example.com"]
    assert "campaign-ops doctor --platform sms" in message["message"]


def test_the_notification_commits_with_the_change_that_it_tells_of(sms: World, hook: Received) -> None:
    notify = to(hook.channel())
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE campaign_ops.notification ADD CHECK (subject = '')"))
    bad(sms, STUCK, notify=notify)
    with pytest.raises(Exception, match="constraint"):
        bad(sms, STUCK, notify=notify)
    assert events(sms) == []
    assert outbox(sms, "id") == []
    assert sms.rows("SELECT state FROM campaign_ops.incident") == [{"state": "suspected"}]


def test_a_channel_hears_of_its_severity_platforms_and_tenants_alone(sms: World, hook: Received) -> None:
    notify = to(
        hook.channel("all", severity=Severity.INFO),
        hook.channel("critical", severity=Severity.CRITICAL),
        hook.channel("other_platform", platforms=("messenger",)),
        hook.channel("this_platform", platforms=("sms",)),
        hook.channel("north", tenants=("north",)),
        hook.channel("south", tenants=("south",)),
    )
    open_one(sms, STUCK, notify)
    assert [row["channel"] for row in outbox(sms, "channel")] == ["all", "this_platform", "north"]
    open_one(sms, AWAY, notify)
    assert [row["channel"] for row in outbox(sms, "channel")][3:] == ["all", "critical", "this_platform"]


def test_a_tenant_s_channel_names_no_campaign_of_another_tenant(sms: World, hook: Received) -> None:
    notify = to(hook.channel(tenants=("north",)))
    mixed = Symptom(Cause.STUCK, count=2, campaigns=("c1", "z9"), tenants=("north", "south"), detail="z9: lost")
    open_one(sms, mixed, notify)
    (row,) = outbox(sms, "subject", "body")
    assert "z9" not in row["body"]
    assert "2 campaigns" not in row["subject"] + row["body"]
    assert "Next step" in row["body"]


def test_whoever_heard_of_an_incident_hears_of_its_end(sms: World, hook: Received) -> None:
    notify = to(hook.channel(severity=Severity.CRITICAL))
    grave = Symptom(Cause.STUCK, count=3, severity=Severity.CRITICAL)
    open_one(sms, grave, notify)
    bad(sms, STUCK, notify=notify)
    for _ in range(3):
        good(sms, Cause.STUCK, notify=notify)
    assert len(outbox(sms, "id")) == 2


def test_an_acknowledged_incident_is_quiet_and_worse_speaks(sms: World, hook: Received) -> None:
    notify = to(hook.channel())
    number = open_one(sms, STUCK, notify)
    acknowledge(sms.platform, number, by="ann", reason="on it")
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.incident SET notified_at = notified_at - interval '9 hours'"))
    assert bad(sms, STUCK, notify=notify) == []
    send_due(sms.platform, notify.channels)
    assert len(hook.messages) == 1
    worse = Symptom(Cause.STUCK, count=30)
    assert bad(sms, worse, notify=notify) == [What.WORSENED]
    send_due(sms.platform, notify.channels)
    assert hook.subjects[1] == "[warning] sms: worse: campaigns are stuck for too long (30 campaigns)"


def test_what_a_person_resolved_says_who_and_why(sms: World, hook: Received) -> None:
    notify = to(hook.channel())
    resolve(sms.platform, open_one(sms, STUCK, notify), notify, by="ann", reason="mended")
    send_due(sms.platform, notify.channels)
    assert "Resolved by ann: mended." in hook.messages[1]["message"]


def test_other_people_s_text_stays_one_line(sms: World, mail: Received) -> None:
    """A line end in an id would be a header of the mail."""
    notify = to(mail.channel())
    nasty = "x\r\nBcc: all@example.com\x1b[31m" + "y" * 2_000
    open_one(sms, Symptom(Cause.STUCK, count=1, campaigns=(nasty,), detail=nasty), notify)
    send_due(sms.platform, notify.channels)
    (message,) = mail.messages
    assert message["to"] == ["ann@example.com"]
    assert "\x1b" not in message["message"]
    assert max(map(len, message["message"].splitlines())) < 600


# -- trouble --------------------------------------------------------------------------------------------------------


def test_a_channel_that_is_away_loses_nothing_and_stops_nothing(sms: World, hook: Received) -> None:
    lost = nowhere()
    notify = to(lost, hook.channel())
    open_one(sms, STUCK, notify)
    open_one(sms, AWAY, notify)
    delivered = send_due(sms.platform, notify.channels)
    assert (delivered.sent, list(delivered.failed)) == (2, ["away"])
    assert len(hook.messages) == 2
    waiting = outbox(sms, "channel", "sent_at", "attempts", "last_error")
    assert [row["attempts"] for row in waiting if row["channel"] == "away"] == [1, 0]
    assert "could not be reached" in waiting[0]["last_error"]
    found_again = Channel(name="away", url=SecretStr(hook.url))
    make_due(sms)
    assert send_due(sms.platform, [found_again]).sent == 2
    assert len(hook.messages) == 4


def test_an_error_of_the_server_is_tried_again_later_and_later(sms: World, hook: Received) -> None:
    notify = to(hook.channel())
    open_one(sms, STUCK, notify)
    hook.status = 500
    waits = []
    for _ in range(3):
        assert send_due(sms.platform, notify.channels).failed == {"oncall": "the server answered 500"}
        assert send_due(sms.platform, notify.channels).failed == {}, "it is not due"
        (row,) = sms.rows("SELECT extract(epoch FROM not_before - now())::int AS wait FROM campaign_ops.notification")
        waits.append(row["wait"])
        make_due(sms)
    assert waits == pytest.approx([30, 60, 120], abs=5)
    hook.status = 200
    assert send_due(sms.platform, notify.channels).sent == 1


def test_what_could_not_be_sent_for_hours_is_given_up_and_recorded(sms: World) -> None:
    notify = to(nowhere())
    open_one(sms, STUCK, notify)
    send_due(sms.platform, notify.channels)
    make_due(sms, created_at=timedelta(hours=7), not_before=timedelta(hours=7))
    assert send_due(sms.platform, notify.channels).gave_up == 1
    assert send_due(sms.platform, notify.channels).gave_up == 0
    what, actor, reason = events(sms)[-1]
    assert (what, actor) == ("gave_up", "watch")
    assert reason.startswith("channel away: the server could not be reached")


def test_what_waits_for_a_channel_that_is_gone_is_given_up_too(sms: World) -> None:
    open_one(sms, STUCK, to(nowhere("old")))
    assert send_due(sms.platform, []).sent == 0
    make_due(sms, created_at=timedelta(hours=7))
    assert send_due(sms.platform, []).gave_up == 1
    assert "no process of this configuration" in events(sms)[-1][2]


def test_what_waits_for_a_channel_that_is_gone_keeps_no_other_waiting(sms: World, hook: Received) -> None:
    open_one(sms, STUCK, to(nowhere("old")))
    names = [column.name for column in schema.notification.columns if column.name not in ("id", "channel")]
    columns = ", ".join(names)
    with sms.platform.database.transaction() as connection:
        copies = f"SELECT {columns}, 'old ' || number FROM campaign_ops.notification, generate_series(1, 1000) number"
        connection.execute(sa.text(f"INSERT INTO campaign_ops.notification ({columns}, channel) {copies}"))
    open_one(sms, Symptom(Cause.QUARANTINED, count=1), to(hook.channel()))
    assert send_due(sms.platform, to(hook.channel()).channels).sent == 1


def test_two_that_send_at_once_send_once(sms: World, hook: Received) -> None:
    notify = to(hook.channel())
    for cause in (Cause.STUCK, Cause.QUARANTINED, Cause.AMBIGUOUS, Cause.UNKNOWN_WORD, Cause.CREDITS_LEAKED):
        open_one(sms, Symptom(cause, count=1), notify)
    platforms = [sms.again() for _ in range(3)]
    together = threading.Barrier(len(platforms))
    counts: list[int] = []

    def deliver(number: int) -> None:
        together.wait(10)
        counts.append(send_due(platforms[number], notify.channels).sent)

    threads = [threading.Thread(target=deliver, args=[number]) for number in range(len(platforms))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(hook.messages) == 5
    assert len(set(hook.subjects)) == 5


def test_a_claim_without_an_outcome_is_sent_again_after_its_lease_and_says_so(sms: World, hook: Received) -> None:
    """The process died between sending and marking: nothing can tell whether the message arrived."""
    notify = to(hook.channel())
    open_one(sms, STUCK, notify)
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.notification SET claimed_at = now(), attempts = 1"))
    assert send_due(sms.platform, notify.channels).sent == 0
    make_due(sms, claimed_at=timedelta(minutes=6))
    assert send_due(sms.platform, notify.channels).sent == 1
    assert "may have come before" in hook.messages[0]["message"]
    assert send_due(sms.platform, notify.channels).sent == 0


def test_a_receiver_that_never_answers_is_left_after_a_while(hook: Received) -> None:
    hook.hold = threading.Event()
    problem = send(Channel(name="slow", url=SecretStr(f"{hook.url}?rto=20")), TEXT, timeout_seconds=1)
    hook.hold.set()
    assert problem == "no answer within 1 s"


def test_more_than_an_hour_may_bring_comes_as_one_message(sms: World, hook: Received) -> None:
    notify = to(hook.channel())
    causes = (Cause.STUCK, Cause.QUARANTINED, Cause.AMBIGUOUS, Cause.UNKNOWN_WORD, Cause.CREDITS_LEAKED)
    for cause in causes:
        open_one(sms, Symptom(cause, count=1), notify)
    limits = Limits(messages_an_hour=3)
    assert send_due(sms.platform, notify.channels, limits=limits).sent == 3
    assert [subject for subject in hook.subjects if "changes of incidents" in subject] == hook.subjects[2:]
    assert "3 changes" in hook.subjects[2]
    for words in ("may already have some recipients", "status words", "leaked credits"):
        assert words in hook.messages[2]["message"]
    assert [row["sent_at"] for row in outbox(sms, "sent_at") if row["sent_at"] is None] == []
    open_one(sms, AWAY, notify)
    assert send_due(sms.platform, notify.channels, limits=limits).sent == 0
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.notification SET sent_at = sent_at - interval '1 hour'"))
    assert send_due(sms.platform, notify.channels, limits=limits).sent == 1


def test_without_our_schema_nothing_is_sent(worlds: Worlds) -> None:
    with pytest.raises(StateSchemaError):
        send_due(worlds.make("sms", migrated=False).platform, [])


def test_what_was_sent_long_ago_is_forgotten_and_what_waits_is_kept(worlds: Worlds, hook: Received) -> None:
    world = worlds.make("sms", policy={"history_days": 2})
    notify = to(hook.channel(), nowhere())
    open_one(world, STUCK, notify)
    send_due(world.platform, notify.channels)
    with world.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.notification SET sent_at = sent_at - interval '3 days'"))
    world.sweep()
    assert [row["channel"] for row in outbox(world, "channel")] == ["away"]


# -- secrets --------------------------------------------------------------------------------------------------------


def test_an_owner_hears_of_an_incident_when_it_begins_to_concern_them_and_of_its_end(sms: World) -> None:
    """Only the owners of the first look were told that it opened, and only those of the last one of its end: one was
    told of an incident that never ended, the other of the end of an incident that had never begun.
    """
    north, south = (replace(STUCK, campaigns=(name,), tenants=(name,)) for name in ("north", "south"))
    with webhook() as first, webhook() as second:
        notify = to(first.channel("first", tenants=("north",)), second.channel("second", tenants=("south",)))
        number = open_one(sms, north, notify)
        acknowledge(sms.platform, number, by="ann", reason="TICKET-12")
        for _ in range(3):
            bad(sms, south, notify=notify)
        for _ in range(3):
            good(sms, Cause.STUCK, notify=notify)
        send_due(sms.platform, notify.channels)
    opened, over = ("[warning] sms: campaigns are stuck for too long", "[warning] sms: resolved: campaigns are stuck")
    for received in (first, second):
        begins, ends = received.subjects
        assert (begins.startswith(opened), ends.startswith(over)) == (True, True)
    assert "south" not in str(first.messages)
    assert "north" not in str(second.messages)
    assert [what for what, _, _ in events(sms)] == ["opened", "acknowledged", "repeated", "resolved"]


def test_slow_channels_hold_nothing_up_for_longer_than_their_time(sms: World, hook: Received) -> None:
    """Of several that answered late, each took its 30 s in one look: no other platform was looked at meanwhile, and
    Dagster ended the evaluation of its sensor after a minute.
    """
    one_try, channels = Limits(at_most_seconds=0), [hook.channel("slow"), hook.channel("other")]
    for cause in (Cause.QUARANTINED, Cause.AMBIGUOUS):
        open_one(sms, Symptom(cause, count=1), to(channels[0]))
    open_one(sms, STUCK, to(channels[1]))
    assert [send_due(sms.platform, channels, limits=one_try).sent for _ in range(4)] == [1, 1, 1, 0]
    assert ["stuck" in subject for subject in hook.subjects] == [False, True, False], "the other waits for one message"


def test_no_part_of_a_url_is_ever_shown(sms: World, hook: Received, capfd: pytest.CaptureFixture[str]) -> None:
    channel = nowhere()
    logged = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(logged)
    notify = to(channel, Channel(name="odd", url=SecretStr(f"nope://{SECRET}"), where="campaign_ops.yaml:3: url"))
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        open_one(sms, STUCK, notify)
        delivered = send_due(sms.platform, notify.channels)
        assert send(hook.channel(), TEXT) == ""
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    problem = check(notify)
    captured = capfd.readouterr()
    rows = [*outbox(sms, "*"), *sms.rows("SELECT * FROM campaign_ops.incident_event")]
    for text in (repr(notify), str(delivered), str(problem), repr(problem), str(rows), captured.out + captured.err):
        assert SECRET not in text
    assert "channel away" in logged.getvalue()
    assert SECRET not in logged.getvalue()
    assert str(problem).startswith("campaign_ops.yaml:3: url: is not a URL that apprise understands")
    assert check(to(channel)) is None
