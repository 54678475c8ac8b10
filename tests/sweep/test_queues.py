"""A platform with several queues: all are looked at, at one moment, and the profile says into which one is put back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
import redis
from bullmq import Queue as BullQueue

from campaign_ops.bullmq.queue import QueueAddress
from campaign_ops.bullmq.queue_group import QueueGroup
from campaign_ops.core.errors import ConfigurationError, Refused
from campaign_ops.core.model import Verdict
from campaign_ops.doctor import Level, examine
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.undo import undo
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds

RETRY = "sms-retry"


def profile_with(name: str = "sms-send", also: tuple[str, ...] = ()) -> Profile:
    profile = load_profile("sms")
    assert profile.queue is not None
    return profile.model_copy(update={"queue": profile.queue.model_copy(update={"name": name, "also": also})})


class Application:
    """The application's own queues of a world, by name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.redis = redis.Redis.from_url(world.queue.url, decode_responses=True)

    def key(self, queue: str, part: str) -> str:
        return f"{self.world.queue.prefix}:{queue}:{part}"

    def add(
        self,
        queue: str,
        campaign: str,
        recipients: list[str],
        tenant: str = "shop",
        name: str = "sendBulkSMS",
        **options: Any,
    ) -> str:
        data = self.world.queue.payload(campaign, tenant, recipients)

        async def _add(bull: BullQueue) -> str:
            return str((await bull.add(name, data, {"attempts": 1, **options})).id)

        return str(self._run(queue, _add))

    def pause(self, queue: str) -> None:
        async def _pause(bull: BullQueue) -> None:
            await bull.pause()

        self._run(queue, _pause)

    def open(self, *queues: str) -> None:
        for queue in queues:
            self.redis.hsetnx(self.key(queue, "meta"), "version", "bullmq:5.81.0")

    def recipients(self, queue: str) -> list[str]:
        """Recipients in the waiting jobs of a queue, doubled ones twice."""
        ids = [*self.redis.lrange(self.key(queue, "wait"), 0, -1), *self.redis.lrange(self.key(queue, "paused"), 0, -1)]
        data = [self.redis.hget(self.key(queue, str(one)), "data") for one in ids]
        return sorted(one for text in data if text for one in json.loads(str(text))["recipientIds"])

    def _run(self, queue: str, work: Any) -> Any:
        async def _go() -> Any:
            bull = BullQueue(queue, {"connection": self.world.queue.url, "prefix": self.world.queue.prefix})
            try:
                made: Coroutine[Any, Any, Any] = work(bull)
                return await made
            finally:
                await bull.close()

        return asyncio.run(_go())


def make(worlds: Worlds, name: str = "sms-send", also: tuple[str, ...] = ()) -> tuple[World, Application]:
    world = worlds.make(profile_with(name, also))
    old = world.platform
    assert old.queue is not None
    assert old.profile.queue is not None
    assert world.queue_url is not None
    queues = QueueGroup(QueueAddress(world.queue_url, old.queue.address.prefix), old.profile.queue)
    world.created.append(old)
    world.platform = Platform(old.name, old.profile, old.policy, old.database, queues)
    return world, Application(world)


@pytest.fixture
def two(worlds: Worlds) -> tuple[World, Application]:
    world, app = make(worlds, also=(RETRY,))
    app.open("sms-send", RETRY)
    return world, app


def verdict_of(world: World, campaign: str) -> str:
    return next(item.verdict.value for item in world.sweep().stuck if item.target == campaign and item.verdict)


# -- one table, two queues ---------------------------------------------------------------------------------------------


def test_what_is_live_in_the_other_queue_is_not_put_back(two: tuple[World, Application]) -> None:
    """Measured before: a platform knew one queue, and 10 of 10 recipients that the other had live were added again."""
    world, app = two
    world.app.add_campaign("c1", pending=10)
    app.add(RETRY, "c1", world.app.pending_ids("c1"))
    assert verdict_of(world, "c1") in {Verdict.BACKLOG, Verdict.NO_WORKERS}
    assert app.recipients("sms-send") == []
    assert app.recipients(RETRY) == world.app.pending_ids("c1")


def test_coverage_is_the_union_and_the_rest_goes_into_the_queue_of_the_profile(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=10)
    ids = world.app.pending_ids("c1")
    app.add("sms-send", "c1", ids[:3])
    app.add(RETRY, "c1", ids[3:6])
    world.sweep()
    assert sorted(app.recipients("sms-send") + app.recipients(RETRY)) == ids
    assert app.recipients(RETRY) == ids[3:6]
    rows = world.rows("SELECT job_id, added_at IS NOT NULL AS there FROM campaign_ops.intent")
    assert [row["there"] for row in rows] == [True]


def test_our_own_jobs_do_not_show_how_the_application_s_are_named(two: tuple[World, Application]) -> None:
    """Measured before: after one job of ours, any number was added that the application's workers do not know."""
    world, app = two
    world.app.add_campaign("c1", pending=2)
    world.sweep()
    app.add(RETRY, "over", ["r1"], name="sendSmsV2")
    world.app.add_campaign("c2", pending=2)
    report = world.sweep()
    assert "no job is named 'sendBulkSMS', but those named 'sendSmsV2' (1)" in report.trouble[0]
    assert app.recipients("sms-send") == ["c1_r000001", "c1_r000002"]


def test_jobs_of_both_queues_may_have_the_same_id(two: tuple[World, Application]) -> None:
    """Each queue counts its own jobs from 1."""
    world, app = two
    world.app.add_campaign("c1", pending=4)
    world.app.add_campaign("c2", pending=4)
    first = app.add("sms-send", "c1", world.app.pending_ids("c1"))
    assert app.add(RETRY, "c2", world.app.pending_ids("c2")) == first
    world.sweep()
    assert app.recipients("sms-send") == world.app.pending_ids("c1")
    assert app.recipients(RETRY) == world.app.pending_ids("c2")


def test_a_job_that_comes_to_the_other_queue_before_the_add_keeps_it_out(two: tuple[World, Application]) -> None:
    """The add itself looks at every queue, inside Redis."""
    world, app = two
    world.app.add_campaign("c1", pending=10)
    queues = world.platform.queue
    assert isinstance(queues, QueueGroup)
    last_look = queues.last_look

    def _then_retried() -> Any:
        look = last_look()
        app.add(RETRY, "c1", world.app.pending_ids("c1"))
        return look

    queues.last_look = _then_retried  # type: ignore[method-assign]
    world.sweep()
    assert app.recipients("sms-send") == []
    assert app.recipients(RETRY) == world.app.pending_ids("c1")


def test_a_job_in_the_other_queue_keeps_a_campaign_open(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", failed=3)
    ids = [row["id"] for row in world.rows('SELECT id FROM "CampaignRecipient"')]
    app.add(RETRY, "c1", ids)
    world.sweep()
    assert world.app.campaign("c1")["status"] == "sending"


def test_a_kept_completed_job_of_the_other_queue_speaks_for_its_recipients(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=2)
    job = app.add(RETRY, "c1", world.app.pending_ids("c1"))
    app.redis.lrem(app.key(RETRY, "wait"), 0, job)
    app.redis.zadd(app.key(RETRY, "completed"), {job: 1})
    assert verdict_of(world, "c1") == Verdict.AMBIGUOUS
    assert app.recipients("sms-send") == []


@pytest.mark.parametrize("paused", ["sms-send", RETRY])
def test_a_paused_queue_holds_the_campaigns_that_need_it(two: tuple[World, Application], paused: str) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=4)
    app.add(RETRY, "c1", world.app.pending_ids("c1")[:2])
    world.app.add_campaign("c2", pending=4)
    app.pause(paused)
    report = world.sweep()
    verdicts = {item.target: item.verdict for item in report.stuck}
    assert verdicts["c1"] == Verdict.QUEUE_PAUSED
    # The other queue's pause is nothing to a campaign that has no job there.
    assert (verdicts["c2"] == Verdict.QUEUE_PAUSED) is (paused == "sms-send")
    assert len(app.recipients("sms-send")) == (0 if paused == "sms-send" else 4)


def test_one_queue_that_may_only_be_looked_at_stops_all_of_them(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=4)
    app.redis.hset(app.key(RETRY, "meta"), "version", "bullmq-pro:7.0.0")
    report = world.sweep()
    assert report.queue is not None
    assert RETRY in (report.queue.problem or "")
    assert app.recipients("sms-send") == []


def test_an_emptied_queue_raises_the_alarm_although_the_other_is_there(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=4)
    app.add(RETRY, "c1", world.app.pending_ids("c1"))
    world.sweep()
    app.redis.delete(*app.redis.keys(app.key(RETRY, "*")))
    report = world.sweep()
    assert any(RETRY in line for line in report.trouble), report.trouble
    assert app.recipients("sms-send") == []


def test_a_further_queue_that_was_never_used_is_no_alarm(worlds: Worlds) -> None:
    world, app = make(worlds, also=(RETRY,))
    app.open("sms-send")
    world.app.add_campaign("c1", pending=4)
    world.sweep()
    assert app.recipients("sms-send") == world.app.pending_ids("c1")


def test_every_queue_has_its_row_and_its_line(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=4)
    app.add(RETRY, "c1", world.app.pending_ids("c1"))
    report = world.sweep()
    rows = world.rows("SELECT queue, waiting FROM campaign_ops.queue_state ORDER BY queue")
    assert rows == [{"queue": RETRY, "waiting": 1}, {"queue": "sms-send", "waiting": 0}]
    assert report.queue is not None
    assert report.queue.depth == 1
    (stored,) = world.rows("SELECT markdown FROM campaign_ops.campaign_health")
    assert "Batches are put back into sms-send" in stored["markdown"]
    named = {one.what.split(":")[0] for one in examine(world.platform) if one.check == "queue_paused"}
    assert named == {"sms-send", RETRY}
    assert not [one for one in examine(world.platform) if one.level is Level.ERROR]


def test_an_undo_removes_the_jobs_from_the_queue_they_were_added_to(two: tuple[World, Application]) -> None:
    world, app = two
    world.app.add_campaign("c1", pending=4)
    world.sweep()
    (repair,) = world.rows("SELECT id FROM campaign_ops.repair")
    assert "removed 1 of 1" in undo(world.platform, repair["id"], Person("anna", "TICKET-1", "run")).message
    assert app.recipients("sms-send") == []


# -- a queue for every tenant ------------------------------------------------------------------------------------------


def test_each_tenant_s_batches_go_into_its_own_queue(worlds: Worlds) -> None:
    world, app = make(worlds, "sms-{tenant}")
    app.open("sms-north", "sms-south")
    world.app.add_campaign("n", tenant="north", pending=4)
    world.app.add_campaign("s", tenant="south", pending=4)
    app.add("sms-south", "s", world.app.pending_ids("s")[:1], tenant="south")
    world.sweep()
    assert app.recipients("sms-north") == world.app.pending_ids("n")
    assert app.recipients("sms-south") == world.app.pending_ids("s")
    assert app.redis.keys(app.key("sms-{tenant}", "*")) == [app.key("sms-{tenant}", "meta")]  # the fixture's own
    names = [row["queue"] for row in world.rows("SELECT queue FROM campaign_ops.queue_state ORDER BY 1")]
    assert names == ["sms-north", "sms-south"]


def test_a_tenant_that_names_no_queue_does_not_hold_up_other_tenants(worlds: Worlds) -> None:
    world, app = make(worlds, "sms-{tenant}")
    app.open("sms-north")
    world.app.add_campaign("odd", tenant="a:b", pending=4)
    world.app.add_campaign("n", tenant="north", pending=4)
    report = world.sweep()
    verdicts = {item.target: item.verdict for item in report.stuck}
    assert verdicts == {"odd": Verdict.QUEUE_UNREADABLE, "n": Verdict.JOBS_LOST}
    assert app.recipients("sms-north") == world.app.pending_ids("n")


def test_one_tenant_s_paused_queue_is_nothing_to_another(worlds: Worlds) -> None:
    world, app = make(worlds, "sms-{tenant}")
    app.open("sms-north", "sms-south")
    app.pause("sms-south")
    world.app.add_campaign("n", tenant="north", pending=4)
    world.app.add_campaign("s", tenant="south", pending=4)
    world.sweep()
    assert app.recipients("sms-north") == world.app.pending_ids("n")
    assert app.recipients("sms-south") == []


def test_a_tenant_s_jobs_are_taken_back_when_none_of_its_campaigns_is_sending_any_more(worlds: Worlds) -> None:
    world, app = make(worlds, "sms-{tenant}")
    app.open("sms-north")
    world.app.add_campaign("n", tenant="north", pending=4)
    world.sweep()
    (repair,) = world.rows("SELECT id FROM campaign_ops.repair")
    world.app.set_campaign("n", status="cancelled")
    assert "removed 1 of 1" in undo(world.platform, repair["id"], Person("anna", "TICKET-1", "run")).message
    assert app.recipients("sms-north") == []


def test_an_idle_look_reads_no_queue_of_tenants_that_send_nothing(worlds: Worlds) -> None:
    world, _ = make(worlds, "sms-{tenant}")
    report = dry_run(world.platform)
    assert report.queue is not None
    assert report.queue.problem is None
    assert report.queue.parts == ()


def test_a_platform_that_gives_every_tenant_a_queue_looks_at_the_old_one_until_it_is_empty(worlds: Worlds) -> None:
    world, app = make(worlds)
    app.open("sms-send", "sms-north")
    world.app.add_campaign("n", tenant="north", pending=4)
    app.add("sms-send", "n", world.app.pending_ids("n"), tenant="north")
    world.sweep()
    assert world.queue_url is not None
    also: tuple[str, ...]
    for also, allowed in (((), False), (("sms-send",), True)):
        profile = profile_with("sms-{tenant}", also)
        assert profile.queue is not None
        queues = QueueGroup(QueueAddress(world.queue_url, world.queue.prefix), profile.queue)
        world.created.append(world.platform)
        world.platform = Platform("sms", profile, world.platform.policy, Database(world.url), queues)
        if allowed:
            world.sweep()
        else:
            with pytest.raises(Refused, match="sms-send"):
                world.sweep()
    assert app.recipients("sms-north") == []


# -- the profile -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "words"),
    [
        ("{name: sms-send, also: [sms-send]}", "named twice"),
        ("{name: 'sms-{campaign_id}'}", "only {tenant}"),
        ("{name: sms-send, also: ['bull:sms-retry']}", "colon"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Any, queue: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: sms\nqueue: {queue}\n")
    with pytest.raises(ConfigurationError, match=words):
        load_profile(str(path))
