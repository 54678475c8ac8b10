"""Recipients that the provider may have wait for a person, although markers expire and jobs are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from bullmq import Job, Worker

from campaign_ops.bullmq.queue import LastLook, LookAgain
from campaign_ops.core.errors import Refused, StatementRejected, StateSchemaError
from campaign_ops.core.model import Verdict
from campaign_ops.fixes import ambiguous
from campaign_ops.fixes.ambiguous import send_again, take_as_sent
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.profile.load import load_profile
from campaign_ops.sweep import reenqueue as putting_back
from campaign_ops.sweep.look import observe
from tests.conftest import World, Worlds
from tests.doctor.bench import run
from tests.sweep.actors import covered, interfering

OPERATOR = Person("the operator", "ticket 42", "manual-run")


def expire_markers(world: World, recipient_ids: Sequence[str]) -> None:
    keys = [marker.format(recipient_id=one) for marker in world.queue.profile.markers for one in recipient_ids]
    with redis.Redis.from_url(world.queue.url) as client:
        client.delete(*keys)


def update_recipients(world: World, recipient_ids: Sequence[str], values: str) -> None:
    with world.app.engine.begin() as connection:
        statement = sa.text(f'UPDATE "CampaignRecipient" SET {values} WHERE id = ANY(:ids)')
        connection.execute(statement, {"ids": list(recipient_ids)})


def complete_waiting(world: World) -> None:
    """Let a worker complete every waiting job without writing a row; the jobs are kept."""

    async def nothing(_job: Job, _token: str) -> None: ...

    world.queue.work_off(nothing)


def remembered(world: World) -> set[str]:
    rows = world.rows("SELECT recipient_id FROM campaign_ops.ambiguous WHERE decided_at IS NULL")
    return {row["recipient_id"] for row in rows}


def verdict(world: World) -> Verdict | None:
    (item,) = world.sweep().stuck
    return item.verdict


# -- markers -----------------------------------------------------------------------------------------------------------


def test_a_recipient_seen_marked_once_is_not_sent_again_when_its_marker_ends(sms: World) -> None:
    """Measured before: 5 of 5 were put back into the queue by the first sweep after the marker's time to live."""
    sms.app.add_campaign("c", pending=5)
    ids = sms.app.pending_ids("c")
    sms.queue.mark(ids)
    assert verdict(sms) is Verdict.AMBIGUOUS
    expire_markers(sms, ids)
    assert verdict(sms) is Verdict.AMBIGUOUS
    assert covered(sms) == {}
    with pytest.raises(Refused, match="ambiguous"):
        reenqueue_one(sms.platform, "c", OPERATOR)


def test_every_step_that_looks_remembers(sms: World) -> None:
    sms.app.add_campaign("c", pending=3)
    first, second, third = sms.app.pending_ids("c")
    sms.queue.mark([first])
    sms.begin().make_plan()
    assert remembered(sms) == {first}
    sms.queue.mark([second])
    sms.begin().reenqueue()
    assert remembered(sms) == {first, second}
    assert covered(sms) == {third: 1}
    sms.queue.remove(sms.queue.live_job_ids())
    sms.queue.mark([third])
    with pytest.raises(Refused):
        reenqueue_one(sms.platform, "c", OPERATOR)
    assert remembered(sms) == {first, second, third}


def test_a_dry_run_uses_what_is_remembered_and_remembers_nothing(sms: World) -> None:
    sms.app.add_campaign("c", pending=2)
    first, second = sms.app.pending_ids("c")
    sms.queue.mark([first])
    sms.begin().make_plan()
    expire_markers(sms, [first])
    sms.queue.mark([second])
    (evidence,) = observe(sms.platform).evidence
    assert evidence.coverage is not None
    assert (evidence.coverage.marked, evidence.coverage.missing) == (2, 0)
    assert remembered(sms) == {first}


def test_a_plan_works_before_the_tables_are_there_and_not_on_those_of_an_older_version(worlds: Worlds) -> None:
    bare, older = worlds.make("sms", migrated=False), worlds.make("sms")
    with older.platform.database.transaction() as connection:
        connection.execute(sa.text("DROP TABLE campaign_ops.ambiguous"))
        connection.execute(sa.text("UPDATE campaign_ops.alembic_version SET version_num = '0001'"))
    for world in (bare, older):
        world.app.add_campaign("c", pending=2)
        world.queue.mark(world.app.pending_ids("c")[:1])
    (evidence,) = observe(bare.platform).evidence
    assert evidence.coverage is not None
    assert (evidence.coverage.marked, evidence.coverage.missing) == (1, 1)
    with pytest.raises(StateSchemaError, match="0001"):
        observe(older.platform)


def test_what_moved_is_forgotten_and_may_be_sent_to_when_it_is_set_back(sms: World) -> None:
    sms.app.add_campaign("c", pending=2)
    moved, stayed = sms.app.pending_ids("c")
    sms.queue.mark([moved, stayed])
    sms.sweep()
    expire_markers(sms, [moved, stayed])
    update_recipients(sms, [moved], "status = 'failed'")
    sms.sweep()
    assert remembered(sms) == {stayed}
    update_recipients(sms, [moved], "status = 'pending'")
    sms.sweep()
    assert covered(sms) == {moved: 1}


def test_a_recipient_that_moved_to_another_campaign_stays_ambiguous(sms: World) -> None:
    sms.app.add_campaign("c", pending=2)
    sms.app.add_campaign("other", pending=1)
    moved, stayed = sms.app.pending_ids("c")
    sms.queue.mark([moved, stayed])
    sms.sweep()
    expire_markers(sms, [moved, stayed])
    update_recipients(sms, [moved], """ "campaignId" = 'other' """)
    sms.queue.remove(sms.queue.live_job_ids())
    sms.sweep()
    assert moved not in covered(sms)


def test_after_a_persons_decision_a_recipient_is_sent_to_once_and_a_new_marker_speaks_again(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"cooldown_seconds": 0})
    world.app.add_campaign("c", pending=3)
    ids = world.app.pending_ids("c")
    world.queue.mark(ids)
    world.sweep()
    expire_markers(world, ids)
    send_again(world.platform, "c", OPERATOR)
    assert covered(world) == dict.fromkeys(ids, 1)
    world.queue.mark(ids[:1])
    world.queue.remove(world.queue.live_job_ids())
    world.sweep()
    assert covered(world) == dict.fromkeys(ids[1:], 1), "the decision was for one time"
    assert remembered(world) == {ids[0]}


def test_a_decision_crashed_half_way_leaves_the_choice_with_the_person(sms: World) -> None:
    """The decision is written before the markers are deleted: the remaining markers make it ambiguous again."""
    sms.app.add_campaign("c", pending=2)
    sms.queue.mark(sms.app.pending_ids("c"))
    sms.sweep()

    def die(_ids: Sequence[str]) -> int:
        raise KeyboardInterrupt

    assert sms.platform.queue is not None
    sms.platform.queue.forget_marks = die  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        send_again(sms.platform, "c", OPERATOR)
    assert verdict(sms) is Verdict.AMBIGUOUS
    assert covered(sms) == {}


@pytest.mark.parametrize("table", ["repair", "queue_sighting"])
def test_a_statement_that_is_rejected_after_the_markers_are_gone_does_not_hide_that_they_are(
    sms: World, table: str
) -> None:
    """It left as a rejected statement, whose exit code says that nothing was changed."""
    sms.app.add_campaign("c", pending=2)
    ids = sms.app.pending_ids("c")
    sms.queue.mark(ids)
    sms.sweep()
    run(
        sms,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$",
        f"CREATE TRIGGER refuse BEFORE UPDATE ON campaign_ops.{table} FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    fix = send_again(sms.platform, "c", OPERATOR)
    (decision,) = sms.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'send_again'")
    assert (fix.changed, fix.repair_ids) == (True, (decision["id"],))
    assert "sweeps may send again to 2 recipients of campaign c; this fix could not" in fix.message
    assert "not now" in fix.message
    assert sms.platform.queue is not None
    assert (sms.platform.queue.marked(ids), covered(sms)) == (frozenset(), {})
    run(sms, f"DROP TRIGGER refuse ON campaign_ops.{table}")
    sms.sweep()
    assert covered(sms) == dict.fromkeys(ids, 1)


def test_what_is_taken_as_sent_is_forgotten(sms: World) -> None:
    sms.app.add_campaign("c", pending=2)
    ids = sms.app.pending_ids("c")
    sms.queue.mark(ids)
    sms.sweep()
    expire_markers(sms, ids)
    take_as_sent(sms.platform, "c", OPERATOR)
    assert remembered(sms) == set()
    assert sms.app.tally("c") == {"sent": 2}


def test_a_recipient_that_a_trigger_keeps_pending_is_not_called_sent(sms: World) -> None:
    """Measured before: reported as sent and forgotten, so the next sweep sent to it again."""
    sms.app.add_campaign("c", pending=2)
    ids = sms.app.pending_ids("c")
    sms.queue.mark(ids)
    body = (
        """ BEGIN IF NEW.status = 'sent' AND NEW."mittoMessageId" IS NULL THEN RETURN OLD; END IF; RETURN NEW; END """
    )
    run(
        sms,
        f"CREATE FUNCTION needs_id() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
        'CREATE TRIGGER needs_id BEFORE UPDATE ON "CampaignRecipient" FOR EACH ROW EXECUTE FUNCTION needs_id()',
    )
    sms.sweep()
    expire_markers(sms, ids)
    with pytest.raises(StatementRejected, match=r"c_r000001 is not 'sent' afterwards; triggers on it: needs_id"):
        take_as_sent(sms.platform, "c", OPERATOR)
    assert sms.rows("SELECT id FROM campaign_ops.repair") == []
    sms.sweep()
    assert covered(sms) == {}


def take_one(world: World, *, then_die: bool) -> None:
    """Let a worker take the next job; if it is dead, its lock expires."""

    async def take(_queue: Any) -> None:
        options = {"connection": world.queue.url, "prefix": world.queue.prefix, "autorun": False}
        worker = Worker(world.queue.profile.name, lambda *_: None, options)
        try:
            assert await worker.moveToActive("token") is not None
        finally:
            await worker.close()

    world.queue._run(take)
    if then_die:
        with redis.Redis.from_url(world.queue.url) as client:
            client.delete(*(world.queue.key(f"{one}:lock") for one in world.queue.job_ids("active")))


def test_recipients_that_a_dead_worker_marked_are_remembered_while_its_job_covers_them(sms: World) -> None:
    """The job and the marker may vanish together, and no other evidence would remain."""
    sms.app.add_campaign("c", pending=3)
    ids = sms.app.pending_ids("c")
    sms.queue.add("c", "shop", ids)
    take_one(sms, then_die=True)
    sms.queue.mark(ids[:1])
    assert verdict(sms) is Verdict.NO_WORKERS, "covered, so nothing to decide yet"
    assert remembered(sms) == set(ids[:1])
    sms.queue.clear()
    sms.queue.open()
    expire_markers(sms, ids)
    sms.confirmed_sweep()
    assert covered(sms) == dict.fromkeys(ids[1:], 1)


def test_what_a_live_worker_is_sending_is_not_ambiguous(sms: World) -> None:
    """Its claim is released when the provider refuses: the next attempt is the worker's own."""
    sms.app.add_campaign("c", pending=3)
    ids = sms.app.pending_ids("c")
    sms.queue.add("c", "shop", ids)
    take_one(sms, then_die=False)
    sms.queue.mark(ids[:1])
    sms.sweep()
    assert remembered(sms) == set()


# -- completed jobs ----------------------------------------------------------------------------------------------------


def test_a_completed_job_that_is_kept_says_that_its_pending_recipients_may_have_been_sent_to(sms: World) -> None:
    """Measured before: "their jobs are nowhere", and 3 of 3 were put back."""
    sms.app.add_campaign("c", pending=5)
    done, lost = sms.app.pending_ids("c")[:3], sms.app.pending_ids("c")[3:]
    sms.queue.add("c", "shop", done)
    complete_waiting(sms)
    (item,) = sms.sweep().stuck
    assert (item.verdict, item.marked, item.missing) == (Verdict.JOBS_LOST, 3, 2)
    assert "3 in completed jobs" in item.reason
    assert covered(sms) == dict.fromkeys(lost, 1)
    sms.queue.clear()
    sms.queue.open()
    (item,) = sms.sweep().stuck
    assert "3 in completed jobs" in item.reason, "remembered, though the job is cleaned away"
    assert set(covered(sms)).isdisjoint(done)


def test_a_completed_job_says_nothing_where_the_profile_says_so(worlds: Worlds) -> None:
    profile = load_profile("sms")
    assert profile.queue is not None
    queue = profile.queue.model_copy(update={"completed_means": "nothing"})
    world = worlds.make(profile.model_copy(update={"queue": queue}))
    world.app.add_campaign("c", pending=3)
    ids = world.app.pending_ids("c")
    world.queue.add("c", "shop", ids)
    complete_waiting(world)
    (item,) = world.sweep().stuck
    assert covered(world) == dict.fromkeys(ids, 1)
    assert "1 completed job not looked at" in item.reason


def test_a_decision_about_a_completed_job_holds_until_another_job_completes(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"cooldown_seconds": 0})
    world.app.add_campaign("c", pending=2)
    ids = world.app.pending_ids("c")
    world.queue.add("c", "shop", ids)
    complete_waiting(world)
    world.sweep()
    send_again(world.platform, "c", OPERATOR)
    assert covered(world) == dict.fromkeys(ids, 1)
    world.queue.remove(world.queue.live_job_ids())
    world.sweep()
    assert covered(world) == dict.fromkeys(ids, 1), "the old job is decided about"
    complete_waiting(world)
    assert verdict(world) is Verdict.AMBIGUOUS
    assert covered(world) == {}


def test_a_completed_job_whose_ids_are_no_ids_stops_nothing(sms: World) -> None:
    sms.app.add_campaign("c", pending=2)
    ids = sms.app.pending_ids("c")
    sms.queue.add("c", "shop", ["tab\there", "nul\0"], job_ids=["odd\\one"])
    complete_waiting(sms)
    sms.sweep()
    assert covered(sms) == dict.fromkeys(ids, 1)


def test_more_completed_jobs_than_are_read_are_named(sms: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("bullmq.reader", "sweep.suspects"):
        monkeypatch.setattr(f"campaign_ops.{module}.COMPLETED_LOOKED_AT", 2)
    sms.app.add_campaign("c", pending=3)
    sms.queue.add("c", "shop", sms.app.pending_ids("c"), batch_size=1)
    complete_waiting(sms)
    (item,) = sms.sweep().stuck
    assert (item.marked, item.missing) == (2, 1)
    assert "1 completed job not looked at" in item.reason


def test_completed_jobs_are_not_read_while_no_recipient_is_missing(sms: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sms.app.add_campaign("c", pending=2)
    sms.queue.add("other", "shop", ["r"])
    complete_waiting(sms)
    sms.queue.add("c", "shop", sms.app.pending_ids("c"))
    monkeypatch.setattr(sms.platform.queue, "completed_ids", None)
    assert verdict(sms) is Verdict.NO_WORKERS


def test_a_job_that_came_and_completed_right_before_the_add_is_noticed(sms: World) -> None:
    """There is no row and no marker of it: only the completed job shows that a worker had the batch."""
    sms.app.add_campaign("c", pending=2)
    ids = sms.app.pending_ids("c")
    queue = sms.platform.queue
    assert queue is not None
    newcomers = queue.newcomers

    def come_and_go(*arguments: Any, **options: Any) -> frozenset[str]:
        sms.queue.add("c", "shop", ids)
        complete_waiting(sms)
        return newcomers(*arguments, **options)

    queue.newcomers = come_and_go  # type: ignore[method-assign]
    sms.sweep()
    assert covered(sms) == {}
    assert remembered(sms) == set(ids)


def test_jobs_completed_since_the_look_are_noticed_at_every_page_and_every_look_before_the_add(
    sms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was read once: the page that read it was looked at again, or the recipients were another page's."""
    monkeypatch.setattr(putting_back, "JOBS_PER_PAGE", 1)
    for campaign in ("c", "d"):
        sms.app.add_campaign(campaign, pending=2)
    ids = {campaign: sms.app.pending_ids(campaign) for campaign in ("c", "d")}
    queue = sms.platform.queue
    assert queue is not None
    last_look, add, looks = queue.last_look, queue.add, []

    def come_and_go_before() -> LastLook:
        looks.append("look")
        if len(looks) == 1:
            for campaign, batch in ids.items():
                sms.queue.add(campaign, "shop", batch[:1])
            complete_waiting(sms)
        return last_look()

    def moved_at_first(*arguments: Any) -> frozenset[str]:
        if len(looks) == 1:
            raise LookAgain("a job came meanwhile")
        return add(*arguments)

    monkeypatch.setattr(queue, "last_look", come_and_go_before)
    monkeypatch.setattr(queue, "add", moved_at_first)
    sms.sweep()
    assert covered(sms) == dict.fromkeys([ids["c"][1], ids["d"][1]], 1)
    assert remembered(sms) == {ids["c"][0], ids["d"][0]}


def test_a_marker_that_ends_between_two_looks_at_a_page_keeps_its_recipient_out(
    sms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sms.app.add_campaign("c", pending=3)
    marked, *others = sms.app.pending_ids("c")
    queue = sms.platform.queue
    assert queue is not None
    add, tries = queue.add, []

    def moved_at_first(*arguments: Any) -> frozenset[str]:
        tries.append("add")
        if len(tries) == 1:
            expire_markers(sms, [marked])
            raise LookAgain("a job came meanwhile")
        return add(*arguments)

    def mark_at_first() -> None:
        if not tries:
            sms.queue.mark([marked])

    with interfering(sms, before="newcomers", what=mark_at_first):
        monkeypatch.setattr(sms.platform.queue, "add", moved_at_first)
        sms.sweep()
    assert covered(sms) == dict.fromkeys(others, 1)
    assert remembered(sms) == {marked}


def test_a_decision_about_many_says_that_more_are_left(sms: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 12,000 ambiguous recipients 10,000 were decided about, and nothing was said of the others."""
    monkeypatch.setattr(ambiguous, "AT_ONCE", 2)
    sms.app.add_campaign("c", pending=3)
    sms.queue.mark(sms.app.pending_ids("c"))
    left = "; more are ambiguous, and stay so: make it again for them"
    assert take_as_sent(sms.platform, "c", OPERATOR, dry_run=True).message.endswith(left)
    assert take_as_sent(sms.platform, "c", OPERATOR).message == f"2 recipients of campaign c now count as sent{left}"
    assert send_again(sms.platform, "c", OPERATOR).message == "re-enqueued 1 recipient in 1 job of campaign c"
