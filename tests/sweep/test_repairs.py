"""What a sweep changes, and what it leaves alone: rows reloaded after real sweeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from campaign_ops.core.model import Counters, RepairKind, Verdict
from campaign_ops.core.report import HealthReport, render
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.release import release_one
from campaign_ops.journal import bulk
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.profile.load import load_profile
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds
from tests.doctor.bench import run
from tests.shapes import SHAPES
from tests.sweep.actors import counting_profile, covered

ME = Person("me", "the application is done with it", "key")


def verdict(report: HealthReport, campaign: str) -> str:
    return next(item.verdict.value for item in report.stuck if item.target == campaign and item.verdict)


def test_a_campaign_in_which_nothing_is_pending_is_completed_with_all_its_reservations(sms: World) -> None:
    campaign = sms.app.add_campaign("done", succeeded=40, failed=2)
    sms.app.add_reservation("first", campaign=campaign, amount=30)
    sms.app.add_reservation("second", campaign=campaign, amount=12)
    report = sms.sweep()
    assert sms.app.campaign("done")["status"] == "sent"
    assert [row["status"] for row in sms.app.reservations("done")] == ["released", "released"]
    assert all(row["released_at"] is not None for row in sms.app.reservations("done"))
    assert report.figures()["completed"] == 1
    journal = sms.rows("SELECT kind, target, amount, parent_id FROM campaign_ops.repair ORDER BY id")
    assert [(row["kind"], row["target"]) for row in journal] == [
        ("complete", "done"),
        ("release", "first"),
        ("release", "second"),
    ]
    assert sum(row["amount"] or 0 for row in journal) == 42


def test_a_campaign_in_which_all_failed_becomes_failed(sms: World) -> None:
    sms.app.add_campaign("hopeless", failed=5)
    sms.sweep()
    assert sms.app.campaign("hopeless")["status"] == "failed"


def test_on_a_platform_without_a_failed_word_all_failed_is_done(messenger: World) -> None:
    messenger.app.add_campaign("hopeless", failed=5)
    messenger.sweep()
    row = messenger.app.campaign("hopeless")
    assert (row["status"], row["failed"]) == ("COMPLETED", 5)
    assert row["completed_at"] is not None


def test_one_pending_recipient_keeps_a_campaign_open(sms: World) -> None:
    sms.app.add_campaign("almost", succeeded=199, pending=1)
    report = sms.sweep()
    assert sms.app.campaign("almost")["status"] == "sending"
    assert verdict(report, "almost") == Verdict.JOBS_LOST


def test_an_empty_provider_id_is_no_message_that_the_provider_has(sms: World) -> None:
    """A text column without NULLs holds '' until the message is sent: such a campaign was called finished."""
    sms.app.add_campaign("c", pending=5)
    pending, recipient = sms.app.pending_ids("c"), sms.platform.profile.recipient
    with sms.app.engine.begin() as connection:
        connection.execute(sa.text(f"""UPDATE "{recipient.table}" SET "{recipient.provider_id}" = '' """))
    sms.sweep()
    assert sms.app.campaign("c")["status"] == "sending"
    assert covered(sms) == dict.fromkeys(pending, 1)


def test_accepted_recipients_do_not_block_completion_and_are_never_sent_again(sms: World) -> None:
    sms.app.add_campaign("accepted", accepted=3, succeeded=2)
    sms.app.add_campaign("mixed", accepted=3, pending=2)
    sms.sweep()
    assert sms.app.campaign("accepted")["status"] == "sent"
    (job,) = sms.queue.live_job_ids()
    assert sorted(sms.queue.job_data(job)["recipientIds"]) == sms.app.pending_ids("mixed")


def test_a_campaign_without_recipients_is_reported_and_never_failed_by_arithmetic(sms: World) -> None:
    sms.app.add_campaign("empty")
    report = sms.sweep()
    assert sms.app.campaign("empty")["status"] == "sending"
    assert verdict(report, "empty") == Verdict.EMPTY
    assert "empty" in {item.target for item in report.for_person}


@pytest.mark.parametrize(("policy", "word"), [("complete", "sent"), ("fail", "failed")])
def test_the_policy_may_end_empty_campaigns(worlds: Worlds, policy: str, word: str) -> None:
    world = worlds.make("sms", policy={"empty_campaigns": policy})
    world.app.add_campaign("empty")
    world.sweep()
    assert world.app.campaign("empty")["status"] == word


def test_an_unknown_recipient_status_blocks_its_campaign_only(sms: World) -> None:
    sms.app.add_campaign("strange", succeeded=5, words={"bounced": 1})
    sms.app.add_campaign("plain", succeeded=5)
    report = sms.sweep()
    assert sms.app.campaign("strange")["status"] == "sending"
    assert sms.app.campaign("plain")["status"] == "sent"
    assert verdict(report, "strange") == Verdict.UNKNOWN_STATUS


def test_a_campaign_touched_lately_is_not_looked_at(sms: World) -> None:
    sms.app.add_campaign("young", succeeded=5, updated_ago=minutes(14))
    sms.app.add_campaign("old", succeeded=5, updated_ago=minutes(16))
    sms.sweep()
    assert sms.app.campaign("young")["status"] == "sending"
    assert sms.app.campaign("old")["status"] == "sent"


def test_a_slow_campaign_is_not_stuck(sms: World) -> None:
    sms.app.add_campaign("slow", succeeded=10, pending=90, moved_ago=minutes(3))
    report = sms.sweep()
    assert verdict(report, "slow") == Verdict.PROGRESSING
    assert sms.queue.live_job_ids() == []


@pytest.mark.parametrize("status", ["cancelled", "paused", "draft", "sent", "failed"])
def test_only_sending_campaigns_are_touched(sms: World, status: str) -> None:
    sms.app.add_campaign("other", succeeded=5, status=status)
    before = sms.app.campaign("other")
    sms.sweep()
    assert sms.app.campaign("other") == before


@pytest.mark.parametrize("timezone", ["Asia/Manila", "America/New_York"])
def test_ages_are_right_whatever_the_servers_time_zone(worlds: Worlds, timezone: str) -> None:
    world = worlds.make("sms", timezone=timezone)
    world.app.add_campaign("young", succeeded=1, updated_ago=minutes(14))
    world.app.add_campaign("old", succeeded=1, updated_ago=minutes(16))
    world.app.add_campaign("paused", status="paused", pending=1)
    world.app.add_reservation("valid", campaign="paused", expires_in=minutes(30))
    world.app.add_reservation("expired", campaign="paused", expires_in=minutes(-1))
    world.sweep()
    assert world.app.campaign("young")["status"] == "sending"
    row = world.app.campaign("old")
    assert row["status"] == "sent"
    (now,) = world.rows("SELECT now() AS now")
    assert abs((now["now"] - row["updated_at"]).total_seconds()) < 60
    assert world.app.reservation("valid")["status"] == "active"
    assert world.app.reservation("expired")["status"] == "released"


@pytest.mark.parametrize("statuses", ["text", "enum"])
@pytest.mark.parametrize("ids", ["text", "integer", "bigint", "uuid"])
@pytest.mark.parametrize("timestamps", ["naive", "aware"])
def test_every_shape_of_platform_is_repaired(worlds: Worlds, statuses: str, ids: str, timestamps: str) -> None:
    shape = PlatformShape(ids=ids, statuses=statuses, timestamps=timestamps)  # type: ignore[arg-type]
    world = worlds.make("sms", shape=shape)
    world.app.add_campaign("done", succeeded=3)
    world.app.add_reservation("hold", campaign="done")
    world.app.add_campaign("lost", pending=7)
    world.sweep()
    assert world.app.campaign("done")["status"] == "sent"
    assert world.app.reservation("hold")["status"] == "released"
    (job,) = world.queue.live_job_ids()
    data = world.queue.job_data(job)
    assert sorted(map(str, data["recipientIds"])) == sorted(world.app.pending_ids("lost"))
    assert isinstance(data["recipientIds"][0], int if shape.numeric_ids else str)
    assert isinstance(data["campaignId"], int if shape.numeric_ids else str)


def test_names_that_need_quoting_and_hostile_values_stay_values(worlds: Worlds) -> None:
    world = worlds.make("sms")
    evil = '\'; DROP TABLE "Campaign"; --'
    world.app.add_campaign("evil", name=f"{evil} %s %(x)s | <b>", tenant=evil, succeeded=2)
    world.app.add_reservation("hold", campaign="evil", tenant=evil)
    world.app.add_campaign("evil_lost", tenant=evil, pending=2)
    world.sweep()
    assert world.app.campaign("evil")["status"] == "sent"
    assert world.app.reservation("hold")["tenant"] == evil
    (job,) = world.queue.live_job_ids()
    assert world.queue.job_data(job)["shopId"] == evil


def test_snake_case_tables_in_another_schema_with_reserved_names(worlds: Worlds) -> None:
    base = load_profile("sms").model_dump(by_alias=True)
    base["schema"] = "app data"
    base["campaign"] |= {"table": "order", "status": "select", "updated_at": 'od"d %s col', "tenant": "user"}
    base["recipient"] |= {"table": "campaign_recipients", "campaign_id": "campaign_id", "provider_id": "provider id"}
    base["reservation"] |= {"table": "credit:holds", "released_at": "released_at"}
    world = worlds.make(type(load_profile("sms")).model_validate(base), shape=PlatformShape(statuses="enum"))
    world.app.add_campaign("done", succeeded=3)
    world.app.add_reservation("hold", campaign="done")
    world.app.add_campaign("lost", pending=3)
    world.sweep()
    assert world.app.campaign("done")["status"] == "sent"
    assert world.app.reservation("hold")["status"] == "released"
    assert len(world.queue.live_job_ids()) == 1


def test_counters_behind_the_rows_are_raised_and_those_ahead_are_kept(messenger: World) -> None:
    app = messenger.app
    app.add_campaign("behind", succeeded=48, failed=2, counters=Counters(50, 30, 0), started_ago=hours(2))
    app.add_campaign("ahead", succeeded=40, failed=5, counters=Counters(50, 45, 5), started_ago=hours(2))
    app.add_campaign("stalled", succeeded=10, counters=Counters(50, 4, 0))
    report = messenger.sweep()
    behind, ahead, stalled = (app.campaign(one) for one in ("behind", "ahead", "stalled"))
    assert (behind["status"], behind["succeeded"], behind["failed"]) == ("COMPLETED", 48, 2)
    assert (ahead["status"], ahead["succeeded"], ahead["failed"]) == ("COMPLETED", 45, 5)
    assert (stalled["status"], stalled["succeeded"]) == ("SENDING", 4)
    (item,) = [one for one in report.stuck if one.target == "stalled"]
    assert item.verdict is Verdict.STALLED
    assert "sent counter 4, rows 10" in item.reason


def test_an_open_campaigns_counters_are_left_alone_where_they_are_evidence(messenger: World) -> None:
    """A sender that was only slow would add its share to a counter that we had raised, and 500 unsent look sent."""
    app = messenger.app
    app.add_campaign("slow", succeeded=400, counters=Counters(1000, 0, 0))
    messenger.sweep()
    app.add_recipients("slow", succeeded=100)
    app.set_campaign("slow", updated_ago=minutes(40), succeeded=app.campaign("slow")["succeeded"] + 500)
    messenger.sweep()
    assert app.campaign("slow")["status"] == "SENDING"


def test_a_recount_does_not_make_a_campaign_look_touched(worlds: Worlds) -> None:
    world = worlds.make(counting_profile())
    world.app.add_campaign("stalled", succeeded=10, pending=40, counters=Counters(50, 4, 0))
    before = world.app.campaign("stalled")["updated_at"]
    world.sweep()
    row = world.app.campaign("stalled")
    assert (row["succeeded"], row["updated_at"]) == (10, before)
    assert world.sweep().figures()["recounted"] == 0


def test_messages_still_without_a_row_keep_a_campaign_open(messenger: World) -> None:
    messenger.app.add_campaign("half", succeeded=25, counters=Counters(50, 25, 0))
    messenger.app.add_campaign("empty", counters=Counters(0, 0, 0))
    report = messenger.sweep()
    assert messenger.app.campaign("half")["status"] == "SENDING"
    assert verdict(report, "empty") == Verdict.EMPTY


def test_a_second_sweep_finds_nothing_to_do(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("hold", campaign="done")
    sms.app.add_campaign("lost", pending=600)
    sms.sweep()
    rows, jobs = sms.app.fingerprint(), sms.queue.live_job_ids()
    second = sms.sweep()
    assert sms.app.fingerprint() == rows
    assert sms.queue.live_job_ids() == jobs
    assert {line.done for line in second.repairs} == {0}


def test_credits_are_released_held_and_reported_by_the_rule(sms: World) -> None:
    app = sms.app
    app.add_campaign("over", status="cancelled")
    app.add_campaign("paused", status="paused")
    app.add_campaign("sending", pending=1, updated_ago=minutes(1))
    app.add_reservation("of_over", campaign="over")
    app.add_reservation("of_paused", campaign="paused")
    app.add_reservation("expired_of_paused", campaign="paused", expires_in=minutes(-5))
    app.add_reservation("old_of_paused", campaign="paused", created_ago=hours(49))
    app.add_reservation("of_sending", campaign="sending", expires_in=hours(1))
    app.add_reservation("expired_of_sending", campaign="sending", expires_in=minutes(-5))
    app.add_reservation("old_of_sending", campaign="sending", created_ago=hours(49))
    report = sms.sweep()
    held = {row["id"] for row in sms.rows("SELECT id FROM \"CreditReservation\" WHERE status = 'active'")}
    assert held == {"of_paused", "of_sending", "expired_of_sending", "old_of_sending"}
    assert {"expired_of_sending", "old_of_sending"} <= {item.target for item in report.for_person}
    (totals,) = sms.rows("SELECT sum(amount) AS freed FROM campaign_ops.repair WHERE kind = 'release'")
    assert totals["freed"] == 300


def test_credits_of_a_campaign_that_ended_just_now_are_left_to_the_application(sms: World) -> None:
    """An application ended its campaign in one transaction and settled the hold in the next: it found it released."""
    app = sms.app
    for label in ("sent", "cancelled"):
        app.add_campaign(label, status=label, updated_ago=minutes(40), succeeded=1)
        app.add_reservation(label, campaign=label)
    app.add_reservation("for the next run", campaign="sent", created_ago=minutes(0))
    app.set_campaign("cancelled")
    plan = sms.begin().make_plan()
    assert [item.target for item in plan.items] == ["sent"]
    app.set_campaign("sent")
    report = sms.sweep()
    assert held_in(sms) == ["cancelled", "for the next run", "sent"]
    assert [line.leaked for line in report.credits] == [0]
    assert not report.for_person
    fix = release_one(sms.platform, "cancelled", ME, dry_run=True)
    assert "touched 0 s ago: sweeps leave it alone for 15 min" in fix.message
    release_one(sms.platform, "cancelled", ME)
    app.set_campaign("sent", updated_ago=minutes(16))
    sms.sweep()
    assert held_in(sms) == ["for the next run"]


def test_credits_of_a_campaign_that_changes_between_plan_and_release_stay_held(sms: World) -> None:
    sms.app.add_campaign("over", status="sent", succeeded=1)
    sms.app.add_reservation("hold", campaign="over")
    sweep = sms.begin()
    plan = sweep.make_plan()
    assert [item.kind for item in plan.items] == [RepairKind.RELEASE]
    sms.app.set_campaign("over")
    sweep.release(plan)
    assert held_in(sms) == ["hold"]
    assert sms.rows("SELECT 1 FROM campaign_ops.repair") == []


def test_more_leaked_credits_than_one_sweep_may_release_are_left_to_the_next(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"max_releases_per_sweep": 3})
    world.app.add_campaign("over", status="cancelled")
    world.app.add_campaign("done", succeeded=1)
    world.app.add_reservation("with_its_campaign", campaign="done")
    for number in range(5):
        world.app.add_reservation(f"leaked_{number}", campaign="over")
    (would,) = (line for line in dry_run(world.platform).repairs if line.kind is RepairKind.RELEASE)
    assert (would.planned, would.detail) == (3, "2 next time")
    (first,) = (line for line in world.sweep().repairs if line.kind is RepairKind.RELEASE)
    assert (first.planned, first.done, first.detail) == (3, 4, "2 next time, 1 with their campaign")
    assert len(held_in(world)) == 2
    (second,) = (line for line in world.sweep().repairs if line.kind is RepairKind.RELEASE)
    assert (second.planned, second.done, second.detail) == (2, 2, "")
    assert held_in(world) == []


def test_leaked_credits_that_cannot_be_released_do_not_keep_the_others_waiting(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"max_releases_per_sweep": 2})
    world.app.add_campaign("over", status="cancelled")
    for label in ("a_bad_0", "a_bad_1", "b_good_0", "b_good_1", "b_good_2"):
        world.app.add_reservation(label, campaign="over")
    with world.app.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not this one'; END$$;"
            'CREATE TRIGGER refuse BEFORE UPDATE ON "CreditReservation" FOR EACH ROW'
            " WHEN (OLD.id LIKE 'a_bad%%') EXECUTE FUNCTION refuse()"
        )
    for _ in range(5):
        world.sweep()
    assert held_in(world) == ["a_bad_0", "a_bad_1"]


def test_a_reservation_of_a_campaign_without_a_status_is_left_to_a_person(sms: World) -> None:
    with sms.app.engine.begin() as connection:
        connection.exec_driver_sql('ALTER TABLE "Campaign" ALTER COLUMN status DROP NOT NULL')
    sms.app.add_campaign("odd")
    sms.app.add_reservation("hold", campaign="odd", created_ago=hours(100))
    with sms.app.engine.begin() as connection:
        connection.exec_driver_sql('UPDATE "Campaign" SET status = NULL')
    report = sms.sweep()
    assert held_in(sms) == ["hold"]
    assert "hold" in {item.target for item in report.for_person}


def test_a_plan_is_written_whole_however_many_statements_it_takes(sms: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ROWS_AT_ONCE", 2)
    for number in range(5):
        sms.app.add_campaign(f"c{number}", pending=1)
    sms.sweep()
    rows = sms.rows("SELECT target FROM campaign_ops.repair_plan")
    assert sorted(row["target"] for row in rows) == ["c0", "c1", "c2", "c3", "c4"]


def held_in(world: World) -> list[str]:
    return [row["id"] for row in world.rows("SELECT id FROM \"CreditReservation\" WHERE status = 'active' ORDER BY id")]


def test_a_reservation_of_a_campaign_in_an_unknown_status_is_left_to_a_person(sms: World) -> None:
    sms.app.add_campaign("odd", status="archived")
    sms.app.add_reservation("hold", campaign="odd", created_ago=hours(100))
    report = sms.sweep()
    assert sms.app.reservation("hold")["status"] == "active"
    assert "hold" in {item.target for item in report.for_person}


def test_a_trigger_that_refuses_one_campaign_does_not_stop_the_others(
    sms: World, caplog: pytest.LogCaptureFixture
) -> None:
    import sqlalchemy as sa

    for label in ("good_1", "bad", "good_2"):
        sms.app.add_campaign(label, succeeded=2)
        sms.app.add_reservation(f"hold_{label}", campaign=label)
    with sms.app.engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.id = 'bad' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$"
            )
        )
        connection.execute(
            sa.text('CREATE TRIGGER refuse BEFORE UPDATE ON "Campaign" FOR EACH ROW EXECUTE FUNCTION refuse()')
        )
    report = sms.sweep()
    assert [sms.app.campaign(one)["status"] for one in ("good_1", "bad", "good_2")] == ["sent", "sending", "sent"]
    assert sms.app.reservation("hold_bad")["status"] == "active"
    assert any("bad" in line and "not this one" in line for line in report.trouble)
    assert report.figures()["completed"] == 2
    assert "bad" in caplog.text
    assert "null" not in caplog.text, "its state is logged with what is known"


def test_the_breaker_holds_completions_back_until_a_person_confirms(sms: World) -> None:
    for number in range(12):
        sms.app.add_campaign(f"done_{number}", succeeded=1)
    report = sms.sweep()
    assert len(sms.app.campaigns("sending")) == 12
    assert any("held back" in line and "12 of 12" in line for line in report.trouble)
    sms.sweep()
    assert len(sms.app.campaigns("sending")) == 12
    sms.confirmed_sweep()
    assert len(sms.app.campaigns("sent")) == 12


def test_a_campaign_with_200_000_recipients_is_tallied_and_put_back_in_batches(worlds: Worlds) -> None:
    world = worlds.make("sms")
    world.app.add_campaign("huge", succeeded=50_000, pending=150_000)
    report = world.sweep()
    jobs = world.queue.live_job_ids()
    assert len(jobs) == 300
    recipients = [one for job in jobs for one in world.queue.job_data(job)["recipientIds"]]
    assert len(recipients) == len(set(recipients)) == 150_000
    (line,) = [one for one in report.repairs if one.kind is RepairKind.REENQUEUE]
    assert "300 jobs, 150000 recipients" in line.detail


def test_a_campaign_s_id_beyond_what_its_references_can_hold_stops_no_other(worlds: Worlds) -> None:
    """Measured before: every sweep ended with "value 3000000000 is out of range for type integer"."""
    world = worlds.make("sms", shape=replace(SHAPES["integer"], foreign_keys=False))
    lost, done = world.app.add_campaign(pending=2), world.app.add_campaign(succeeded=2)
    large = world.app.add_campaign()
    world.app.add_reservation(campaign=done)
    run(
        world,
        'ALTER TABLE "Campaign" ALTER id TYPE bigint',
        f'UPDATE "Campaign" SET id = 3000000000 WHERE id = {large}',
    )
    report = world.sweep()
    verdicts = {lost: Verdict.JOBS_LOST, done: Verdict.FINISHED, "3000000000": Verdict.EMPTY}
    assert {item.target: item.verdict for item in report.stuck} == verdicts
    assert world.app.campaign(done)["status"] == "sent"
    assert list(covered(world).values()) == [1, 1]


def test_a_campaign_whose_id_another_tenant_s_has_too_gets_no_jobs(worlds: Worlds) -> None:
    """Where each tenant counts its own: measured before, recipients of the one in a job of the other."""
    world = worlds.make("sms", shape=PlatformShape(foreign_keys=False))
    for label in ("1", "2", "other"):
        world.app.add_campaign(label, pending=2, tenant="north")
    columns = """id, 'south', name, message, {word}, "updatedAt\""""
    south = f'INSERT INTO "Campaign" SELECT {columns} FROM "Campaign" WHERE id = {{id}}'
    run(
        world,
        'ALTER TABLE "Campaign" DROP CONSTRAINT "Campaign_pkey", ADD PRIMARY KEY ("shopId", id)',
        south.format(word="status", id="'1'"),
        south.format(word="'sent'", id="'2'"),
    )
    report = world.sweep()
    assert [item.verdict for item in report.stuck if item.target == "1"] == [Verdict.UNCOUNTED] * 2
    assert "campaigns of several tenants have this id" in render(report)
    assert covered(world) == dict.fromkeys(world.app.pending_ids("other"), 1)


def test_credits_of_a_campaign_stay_held_when_another_tenant_s_of_the_same_id_is_over(worlds: Worlds) -> None:
    """Measured before: completing the one released what was held for the other, which was only paused."""
    world = worlds.make("sms", shape=PlatformShape(foreign_keys=False))
    world.app.add_campaign("1", succeeded=2, tenant="north")
    world.app.add_campaign("2", succeeded=2, tenant="north", status="sent")
    run(
        world,
        'ALTER TABLE "Campaign" DROP CONSTRAINT "Campaign_pkey", ADD PRIMARY KEY ("shopId", id)',
        """INSERT INTO "Campaign" SELECT id, 'south', name, message, 'paused', "updatedAt" FROM "Campaign\"""",
    )
    for campaign in ("1", "2"):
        world.app.add_reservation(f"south{campaign}", campaign=campaign, tenant="south")
    world.sweep()
    assert [world.app.reservation(f"south{campaign}")["status"] for campaign in ("1", "2")] == ["active", "active"]
