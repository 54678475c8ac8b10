"""A campaign is over only when no more work on it can come: neither from a live job nor from an open transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import ProfileMismatch, QueueUnavailable, Refused, StillWriting
from campaign_ops.core.model import Counters, RepairKind, Verdict
from campaign_ops.core.report import HealthReport
from campaign_ops.doctor.grants import grants
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.sweep import complete as completing
from campaign_ops.sweep import writers
from campaign_ops.sweep.look import observe
from tests.conftest import World, Worlds
from tests.doctor.bench import run
from tests.sweep.actors import counting_profile, interfering

OPERATOR = Person("the operator", "ticket 42", "manual-run")
AN_HOUR = 3_600_000


def verdict(report: HealthReport, campaign: str) -> str:
    return next(item.verdict.value for item in report.stuck if item.target == campaign and item.verdict)


def recipients(world: World, campaign: str) -> list[str]:
    return [row["id"] for row in world.rows('SELECT id FROM "CampaignRecipient" WHERE "campaignId" = :id', id=campaign)]


def all_failed_and_retried(world: World, **options: Any) -> str:
    """Every row failed, and the application's own retry waits in the queue for its time."""
    world.app.add_campaign("retried", failed=5)
    world.app.add_reservation("hold", campaign="retried", amount=5)
    (job,) = world.queue.add("retried", "shop_north", recipients(world, "retried"), **options)
    return job


@pytest.mark.parametrize("options", [{"delay": AN_HOUR}, {"priority": 3}, {}], ids=["delayed", "prioritized", "wait"])
def test_a_campaign_whose_failed_recipients_a_live_job_lists_is_not_over(sms: World, options: dict[str, int]) -> None:
    """It was completed as failed and its credits released; the job then sent to all of them."""
    all_failed_and_retried(sms, **options)
    before = sms.app.fingerprint()
    report = sms.sweep()
    assert sms.app.fingerprint() == before
    assert verdict(report, "retried") == Verdict.NO_WORKERS
    assert "no worker" in next(item.reason for item in report.for_person)


def test_it_is_over_when_the_job_is(sms: World) -> None:
    job = all_failed_and_retried(sms, delay=AN_HOUR)
    sms.sweep()
    sms.queue.remove([job])
    sms.sweep()
    assert sms.app.campaign("retried")["status"] == "failed"
    assert sms.app.reservation("hold")["status"] == "released"


def test_a_job_that_comes_between_plan_and_repair_keeps_the_campaign_open(sms: World) -> None:
    sms.app.add_campaign("retried", failed=5)
    sms.app.add_campaign("over", failed=5)
    sweep = sms.begin()
    plan = sweep.make_plan()
    assert {item.target for item in plan.of(RepairKind.COMPLETE)} == {"retried", "over"}
    sms.queue.add("retried", "shop_north", recipients(sms, "retried"), delay=AN_HOUR)
    completed, _ = sweep.complete(plan)
    assert completed.count == 1
    assert completed.left == 1
    assert sms.app.campaign("retried")["status"] == "sending"
    assert sms.app.campaign("over")["status"] == "failed"


def test_a_job_that_comes_while_the_queue_is_read_keeps_the_campaign_open(sms: World) -> None:
    """The look reads job after job: what was added meanwhile stands in none of its pages."""
    sms.app.add_campaign("retried", failed=5)
    ids = recipients(sms, "retried")
    sweep = sms.begin()
    plan = sweep.make_plan()
    with interfering(sms, after="live_jobs", what=lambda: sms.queue.add("retried", "shop_north", ids, delay=AN_HOUR)):
        sweep.complete(plan)
    assert sms.app.campaign("retried")["status"] == "sending"


def test_a_process_that_slept_after_its_last_look_completes_nothing(
    sms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have slept for minutes, and the job that came meanwhile was then added to a campaign that is over."""
    monkeypatch.setattr(completing, "MAX_SECONDS_TO_COMMIT", 0.2)
    sms.app.add_campaign("retried", failed=5)
    ids, looks = recipients(sms, "retried"), []

    def sleep_at_the_second() -> None:
        looks.append("look")
        if len(looks) == 2:
            sms.queue.add("retried", "shop_north", ids, delay=AN_HOUR)
            time.sleep(0.3)

    with interfering(sms, after="newcomers", what=sleep_at_the_second):
        sms.sweep()
    assert sms.app.campaign("retried")["status"] == "sending"


@pytest.mark.parametrize("policy", ["complete", "fail"])
def test_an_empty_campaign_with_a_live_job_is_left_open_whatever_the_policy(worlds: Worlds, policy: str) -> None:
    """Its recipients may be on their way."""
    world = worlds.make("sms", policy={"empty_campaigns": policy})
    world.app.add_campaign("filling")
    world.queue.add("filling", "shop_north", ["r1"])
    world.sweep()
    assert world.app.campaign("filling")["status"] == "sending"


@pytest.mark.parametrize("campaign", [{"failed": 3}, {"succeeded": 3}, {"accepted": 3}], ids=str)
def test_nothing_is_completed_while_the_queue_cannot_be_read(worlds: Worlds, campaign: dict[str, Any]) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1/0")
    world.app.add_campaign("done", **campaign)
    before = world.app.fingerprint()
    report = world.sweep()
    assert world.app.fingerprint() == before
    assert verdict(report, "done") == Verdict.QUEUE_UNREADABLE


def test_nothing_is_completed_when_the_queue_goes_away_between_plan_and_repair(sms: World) -> None:
    sms.app.add_campaign("done", failed=3)
    sweep = sms.begin()
    plan = sweep.make_plan()

    def goes_away() -> None:
        raise QueueUnavailable("Redis went away")

    with interfering(sms, before="newcomers", what=goes_away):
        completed, _ = sweep.complete(plan)
    assert completed.held_back == "Redis went away"
    assert completed.failures == []
    assert sms.app.campaign("done")["status"] == "sending"


def test_nothing_is_completed_where_there_is_no_queue_under_the_prefix(sms: World) -> None:
    """With a wrong prefix the delayed jobs of another would all be unseen."""
    sms.app.add_campaign("done", failed=3)
    sweep = sms.begin()
    plan = sweep.make_plan()
    sms.queue.clear()
    for completed in (sweep.complete(plan)[0], sms.begin().complete()[0]):
        assert "wrong prefix" in str(completed.held_back)
    report = sms.sweep()
    assert "wrong prefix" in report.trouble[0]
    assert sms.app.campaign("done")["status"] == "sending"


@pytest.mark.parametrize("dry_run", [True, False])
def test_mark_complete_refuses_while_a_live_job_lists_the_campaign_and_names_it(sms: World, dry_run: bool) -> None:
    job = all_failed_and_retried(sms, delay=AN_HOUR)
    before = sms.app.fingerprint()
    with pytest.raises(Refused, match=f"nothing is pending, but 1 live job may still send: {job}"):
        mark_complete(sms.platform, "retried", OPERATOR, dry_run=dry_run)
    assert sms.app.fingerprint() == before


def test_mark_complete_refuses_while_the_queue_cannot_be_read(worlds: Worlds) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1/0")
    world.app.add_campaign("done", failed=3)
    with pytest.raises(QueueUnavailable):
        mark_complete(world.platform, "done", OPERATOR)
    assert world.app.campaign("done")["status"] == "sending"


# -- a resend, and failed tries beside their retries -----------------------------------------------------------------


def test_a_resend_is_not_finished_by_the_rows_of_the_run_before(messenger: World) -> None:
    """Measured before: completed, and its counter raised from 0 to 40; no recipient had got the second message."""
    messenger.app.add_campaign(
        "resent",
        succeeded=40,
        moved_ago=hours(72),
        started_ago=minutes(20),
        updated_ago=minutes(20),
        counters=Counters(40, 0, 0),
    )
    before = messenger.app.fingerprint()
    report = messenger.sweep()
    assert messenger.app.fingerprint() == before
    assert verdict(report, "resent") == Verdict.STALLED
    assert "40 rows of an earlier run" in next(item.reason for item in report.for_person)
    with pytest.raises(Refused, match="40 of 40 recipients still pending"):
        mark_complete(messenger.platform, "resent", OPERATOR)


def test_a_failed_try_and_its_retry_are_one_recipient(messenger: World) -> None:
    """20 of 40 contacts with one failed row and one sent row each were 40 of 40."""
    messenger.app.add_campaign("tried", succeeded=20, failed=20, started_ago=hours(2), counters=Counters(40, 20, 20))
    do(
        messenger,
        """UPDATE "Message" m SET "contactId" = (SELECT o."contactId" FROM "Message" o WHERE o.id = left(m.id, -2)"""
        """ || lpad((right(m.id, 2)::int - 20)::text, 2, '0')) WHERE status = 'FAILED'""",
    )
    before = messenger.app.fingerprint()
    report = messenger.sweep()
    assert messenger.app.fingerprint() == before
    assert verdict(report, "tried") == Verdict.STALLED
    with pytest.raises(Refused, match="20 of 40 recipients still pending"):
        mark_complete(messenger.platform, "tried", OPERATOR)


@pytest.mark.parametrize("counters", [Counters(40, 20, 0), Counters(40, 0, 0), Counters(40, 39, 0)])
def test_without_a_column_that_says_whom_rows_are_about_a_person_decides(messenger: World, counters: Counters) -> None:
    do(messenger, 'ALTER TABLE "Message" DROP COLUMN "contactId", DROP COLUMN "createdAt"')
    messenger.app.engine.dispose()
    with messenger.app.engine.begin() as connection:
        campaign = messenger.app.tables.campaign
        values = {"id": "tried", "tenant": "o", "name": "n", "status": "SENDING", "total": 40}
        moments = {key: sa.text("timezone('utc', now()) - interval '2 hours'") for key in ("updated_at", "started_at")}
        told = {"succeeded": counters.succeeded, "failed": counters.failed}
        connection.execute(campaign.insert().values(values | told | moments))
        connection.exec_driver_sql(
            """INSERT INTO "Message" (id, "campaignId", phone, status, "sentAt") SELECT n, 'tried', '', """
            """CASE WHEN n > 20 THEN 'SENT' ELSE 'FAILED' END, timezone('utc', now()) - interval '1 hour'"""
            """ FROM generate_series(1, 40) n"""
        )
    report = messenger.sweep()
    assert verdict(report, "tried") == Verdict.DISPUTED
    assert messenger.app.campaign("tried")["status"] == "SENDING"
    assert messenger.app.campaign("tried")["succeeded"] == counters.succeeded
    mark_complete(messenger.platform, "tried", OPERATOR)
    row = messenger.app.campaign("tried")
    assert (row["status"], row["succeeded"], row["failed"]) == ("COMPLETED", counters.succeeded, counters.failed)


def test_a_role_that_may_not_read_the_optional_columns_goes_on_without_them(messenger: World) -> None:
    messenger.app.add_campaign("agreeing", succeeded=3, started_ago=hours(2))
    messenger.app.add_campaign("by_rows", succeeded=3, started_ago=hours(2), counters=Counters(3, 2, 0))
    role = f"older_{messenger.platform.database.where.rpartition('_')[2]}"
    for statement in grants(messenger.platform.profile, role):
        if "undefined_column" not in statement:
            do(messenger, statement.replace("%", "%%"))
    platform = messenger.again()
    sa.event.listen(
        platform.database._engine, "begin", lambda connection: connection.exec_driver_sql(f'SET LOCAL ROLE "{role}"')
    )
    messenger.platform = platform
    report = messenger.sweep()
    assert messenger.app.campaign("agreeing")["status"] == "COMPLETED"
    assert verdict(report, "by_rows") == Verdict.DISPUTED


@pytest.mark.parametrize("key", ["about", "created_at"])
def test_a_column_that_the_profile_names_by_itself_must_exist(messenger: World, key: str) -> None:
    """Of a list any may be missing; a misspelt name would silently prove less."""
    profile = messenger.platform.profile
    recipient = profile.recipient.model_copy(update={key: "contatcId"})
    messenger.platform.profile = profile.model_copy(update={"recipient": recipient})
    with pytest.raises(ProfileMismatch, match=f"contatcId.*recipient.{key}.*did you mean"):
        messenger.sweep()


# -- transactions of the application that are open meanwhile ---------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "PATIENCE_SECONDS", 0.1)


SET_BACK = """UPDATE "CampaignRecipient" SET status = 'pending', "failedAt" = NULL WHERE "campaignId" = 'retried'"""
ADD = """
    INSERT INTO "CampaignRecipient" (id, "campaignId", phone, status) VALUES ('new', 'retried', '+1', 'pending')
"""
LOCK = """SELECT id FROM "CampaignRecipient" WHERE "campaignId" = 'retried' FOR UPDATE"""
NO_FOREIGN_KEY = 'ALTER TABLE "CampaignRecipient" DROP CONSTRAINT "CampaignRecipient_campaignId_fkey"'
TOUCH = """UPDATE "Campaign" SET "updatedAt" = now() WHERE id = 'retried'"""


@contextmanager
def writing(world: World, *statements: str, isolation: str = "READ COMMITTED") -> Iterator[sa.Connection]:
    """A transaction of the application that has done this and is open; committed in the end."""
    engine = world.app.engine.execution_options(isolation_level=isolation)
    with engine.connect() as connection, connection.begin():
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield connection


def do(world: World, statement: str) -> None:
    with world.app.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def when_completing(world: World, what: Callable[[], object]) -> None:
    """Let somebody act once, between the premise that was read and the commit that follows."""
    acted: list[bool] = []

    def after(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith("WITH seen") and "UPDATE" in statement and not acted:
            acted.append(True)
            what()

    sa.event.listen(world.platform.database._engine, "after_cursor_execute", after)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("statement", "isolation"),
    [(SET_BACK, "READ COMMITTED"), (SET_BACK, "SERIALIZABLE"), (ADD, "REPEATABLE READ"), (LOCK, "READ COMMITTED")],
    ids=["set back", "set back, serializable", "insert", "lock"],
)
def test_nothing_is_completed_while_a_transaction_that_wrote_recipients_is_open(
    sms: World, statement: str, isolation: str
) -> None:
    """Measured before: completed as failed, and after the application's commit its rows were pending in it for ever."""
    do(sms, NO_FOREIGN_KEY)
    sms.app.add_campaign("retried", failed=3)
    sms.app.add_reservation("hold", campaign="retried")
    with writing(sms, statement, isolation=isolation):
        report = sms.sweep()
        (line,) = (line for line in report.repairs if line.kind is RepairKind.COMPLETE)
        assert "of pid " in str(line.held_back)
        assert "is still open" in report.trouble[0]
    assert sms.app.campaign("retried")["status"] == "sending"
    assert sms.app.reservation("hold")["status"] == "active"
    sms.sweep()
    assert sms.app.campaign("retried")["status"] == ("failed" if statement == LOCK else "sending")


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_transaction_that_ends_soon_is_waited_for_and_what_it_wrote_is_read(sms: World, end: str) -> None:
    sms.app.add_campaign("retried", failed=3)
    connection = sms.app.engine.connect()
    transaction = connection.begin()
    connection.exec_driver_sql(SET_BACK)
    plan = sms.begin().make_plan()
    assert plan.of(RepairKind.COMPLETE)
    timer = threading.Timer(0.2, getattr(transaction, end))
    timer.start()
    sms.begin().complete(plan)
    timer.join()
    connection.close()
    assert sms.app.campaign("retried")["status"] == ("sending" if end == "commit" else "failed")


def test_rows_that_are_set_back_while_the_premise_is_read_keep_the_campaign_open(sms: World) -> None:
    sms.app.add_campaign("retried", failed=3)
    sms.app.add_reservation("hold", campaign="retried")
    sms.app.add_campaign("over", failed=3)
    when_completing(sms, lambda: do(sms, SET_BACK))
    sms.sweep()
    assert sms.app.campaign("retried")["status"] == "sending"
    assert sms.app.reservation("hold")["status"] == "active"
    assert sms.app.campaign("over")["status"] == "failed"
    assert [row["target"] for row in sms.rows("SELECT target FROM campaign_ops.repair")] == ["over"]


def test_a_job_that_is_added_while_the_premise_is_read_keeps_the_campaign_open(sms: World) -> None:
    sms.app.add_campaign("retried", failed=3)
    ids = recipients(sms, "retried")
    when_completing(sms, lambda: sms.queue.add("retried", "shop_north", ids, delay=AN_HOUR))
    sms.sweep()
    assert sms.app.campaign("retried")["status"] == "sending"


def test_recipients_inserted_while_an_empty_campaign_is_ended_keep_it_open(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"empty_campaigns": "fail"})
    do(world, NO_FOREIGN_KEY)
    world.app.add_campaign("retried")
    when_completing(world, lambda: do(world, ADD))
    world.sweep()
    assert world.app.campaign("retried")["status"] == "sending"


def test_a_retry_that_wants_the_campaign_that_we_lock_gets_it(sms: World) -> None:
    """It has set its rows back and touches the campaign: it would wait for us, and we for it."""
    sms.app.add_campaign("retried", failed=3)
    waiting = threading.Thread()

    def begin() -> None:
        nonlocal waiting
        started = threading.Event()

        def retry() -> None:
            with writing(sms, SET_BACK) as connection:
                started.set()
                connection.exec_driver_sql(TOUCH)

        waiting = threading.Thread(target=retry)
        waiting.start()
        started.wait(5)

    when_completing(sms, begin)
    report = sms.sweep()
    waiting.join(5)
    assert not waiting.is_alive()
    assert report.trouble == []
    assert sms.app.campaign("retried")["status"] == "sending"
    assert sms.rows("SELECT target FROM campaign_ops.repair") == []


def test_a_table_that_is_always_being_written_starves_no_completion(sms: World) -> None:
    """Only the transactions that are open at the moment are waited for, and none of them for long."""
    for number in range(5):
        sms.app.add_campaign(f"c{number}", failed=2)
    sms.app.add_campaign("busy", pending=2, updated_ago=minutes(0))
    stop = threading.Event()
    change = """UPDATE "CampaignRecipient" SET status = status WHERE "campaignId" = 'busy'"""

    def write() -> None:
        while not stop.is_set():
            with writing(sms, change, "SELECT pg_sleep(0.03)"):
                pass

    hands = [threading.Thread(target=write) for _ in range(2)]
    for one in hands:
        one.start()
    report = sms.sweep()
    stop.set()
    for one in hands:
        one.join()
    assert report.figures()["completed"] == 5


@pytest.mark.usefixtures("impatient")
def test_mark_complete_refuses_while_such_a_transaction_is_open(sms: World) -> None:
    sms.app.add_campaign("retried", failed=3)
    with writing(sms, SET_BACK), pytest.raises(StillWriting, match="of pid"):
        mark_complete(sms.platform, "retried", OPERATOR)
    with pytest.raises(Refused, match="3 of 3 recipients still pending"):
        mark_complete(sms.platform, "retried", OPERATOR)


@pytest.mark.usefixtures("impatient")
def test_a_write_straight_into_a_partition_is_noticed(sms: World) -> None:
    sms.app.add_campaign("retried", failed=3)
    do(sms, 'CREATE TABLE "Old" (LIKE "CampaignRecipient" INCLUDING ALL) INHERITS ("CampaignRecipient")')
    with writing(sms, ADD.replace('"CampaignRecipient"', '"Old"')):
        sms.sweep()
        assert sms.app.campaign("retried")["status"] == "sending"


@pytest.mark.usefixtures("impatient")
def test_an_ordinary_role_sees_the_transactions_of_others(sms: World) -> None:
    role = f"ordinary_{sms.platform.database.where.rpartition('_')[2]}"
    sms.app.add_campaign("retried", failed=3)
    for statement in grants(sms.platform.profile, role):
        do(sms, statement.replace("%", "%%"))
    platform = sms.again()
    sa.event.listen(
        platform.database._engine, "begin", lambda connection: connection.exec_driver_sql(f'SET LOCAL ROLE "{role}"')
    )
    with writing(sms, SET_BACK), pytest.raises(StillWriting, match="of pid"):
        mark_complete(platform, "retried", OPERATOR)


@pytest.mark.parametrize("counters", [Counters(5, 2, 0), Counters(5, 0, 0), Counters(5, 3, 1)])
def test_a_campaign_with_fewer_rows_than_its_own_total_waits_for_a_person(worlds: Worlds, counters: Counters) -> None:
    """The importer died after 2 of 5 recipients: "2 succeeded, 0 failed of 2", and the campaign was completed."""
    world = worlds.make(counting_profile())
    campaign = world.app.add_campaign("cut", succeeded=2, counters=counters, moved_ago=hours(2))
    report = world.sweep()
    assert verdict(report, "cut") == Verdict.DISPUTED
    assert "total counter 5, rows 2" in report.stuck[0].reason
    before = world.app.campaign(campaign)
    assert before["status"] == world.platform.profile.campaign.words.sending
    assert mark_complete(world.platform, campaign, OPERATOR).changed
    assert world.app.campaign(campaign)["status"] == world.platform.profile.campaign.words.done


def test_contacts_that_were_deleted_after_they_were_sent_to_do_not_keep_a_campaign_open(worlds: Worlds) -> None:
    world = worlds.make(counting_profile())
    world.app.add_campaign("cut", succeeded=2, counters=Counters(5, 4, 1), moved_ago=hours(2))
    assert "sent counter 4, rows 2" in world.sweep().plan.items[0].reason
    assert world.app.campaign("cut")["status"] == world.platform.profile.campaign.words.done


def test_a_provider_id_of_another_type_than_text_has_values_that_are_no_id(sms: World) -> None:
    """Measured before: with a column that is false or 0 by default, everybody counted as sent to."""
    sms.app.add_campaign("c", pending=3)
    kinds = {
        "boolean": ("false", "true"),
        "bigint": ("0", "17"),
        "uuid": ("'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()"),
        "jsonb": ("'{}'", """'{"id": 17}'"""),
    }
    for kind, (no_id, some_id) in kinds.items():
        run(
            sms,
            'ALTER TABLE "CampaignRecipient" DROP "mittoMessageId"',
            f'ALTER TABLE "CampaignRecipient" ADD "mittoMessageId" {kind} DEFAULT {no_id}',
            f"""UPDATE "CampaignRecipient" SET "mittoMessageId" = {some_id} WHERE id = 'c_r000001'""",
        )
        (case,) = observe(sms.again()).evidence
        assert (case.tally.pending, case.tally.accepted) == (2, 1), kind
        assert case.coverage is not None
        assert case.coverage.missing == 2, kind
