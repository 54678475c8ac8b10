"""Every cause of a stuck campaign, made by the Node clients of BullMQ 4, 5 and 6, has its own verdict and no other.

And what follows is right: nothing is added where nothing is missing, exactly the missing where something is, and in
the end every recipient was sent to once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from campaign_ops.core.model import Verdict
from campaign_ops.core.report import HealthReport
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.retry import retry_quarantined
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.fingerprint import database_fingerprint
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.profile.load import load_profile
from campaign_ops.sweep import dry_run
from tests.bullmq.kit import until
from tests.bullmq.node import missing
from tests.conftest import Worlds
from tests.sweep.station import LIVE, QUICK_TO_STALL, TENANT, Scene, Station

pytestmark = pytest.mark.node


@pytest.fixture(scope="module", params=[4, 5, 6], ids=lambda major: f"bullmq{major}")
def station(request: pytest.FixtureRequest, servers: EmbeddedServers) -> Iterator[Station]:
    if why := missing(request.param):
        pytest.skip(why)
    it = Station(request.param, servers.redis)
    yield it
    it.close()


@pytest.fixture
def scene(worlds: Worlds, station: Station) -> Iterator[Scene]:
    it = Scene(worlds.make("sms"), station)
    yield it
    it.close()


@dataclass
class Found:
    """What a cause leaves behind.

    ``missing`` is what a sweep must put back, ``in_hand`` are jobs that a worker holds. ``mend`` is what somebody does
    afterwards, so that the campaign can end.
    """

    missing: Collection[str] = ()
    in_hand: list[str] = field(default_factory=list)
    mend: Callable[[], object] = lambda: None


# -- jobs that are nowhere --------------------------------------------------------------------------------------------


def removed(scene: Scene) -> Found:
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    return Found(ids)


def removed_but_for_one(scene: Scene) -> Found:
    ids = scene.campaign()
    _, *rest = scene.enqueue(ids)
    scene.hire()
    held = scene.take()
    scene.remove(*rest)
    return Found(ids[2:], [held])


def completed_unwritten_and_removed(scene: Scene) -> Found:
    """The worker lied, and `removeOnComplete` took the proof along."""
    ids = scene.campaign()
    scene.enqueue(ids, removeOnComplete=True)
    scene.hire(forgets=False)
    for _ in range(3):
        scene.end(scene.take())
    assert scene.states() == {}
    return Found(ids)


def completed_unwritten_and_kept(scene: Scene) -> Found:
    """A worker said that it did the batch: it may have sent and not written."""
    ids = scene.campaign()
    scene.enqueue(ids)
    scene.hire(forgets=False)
    for _ in range(3):
        scene.end(scene.take())
    assert len(scene.jobs("completed")) == 3
    return Found(mend=lambda: scene.deliver(ids))


def marked_in_part(scene: Scene) -> Found:
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    scene.world.queue.mark(ids[:2])
    return Found(ids[2:], mend=lambda: scene.deliver(ids[:2]))


def marked(scene: Scene) -> Found:
    """The worker claimed its recipients, and then its job went away."""
    ids = scene.campaign()
    scene.enqueue(ids, size=6)
    scene.hire()
    job = scene.take()
    scene.world.queue.mark(ids)
    scene.end(job)
    return Found(mend=lambda: scene.deliver(ids))


# -- jobs that will never send ----------------------------------------------------------------------------------------


def out_of_attempts(scene: Scene) -> Found:
    ids = scene.campaign()
    scene.enqueue(ids, attempts=2)
    scene.hire()
    for _ in range(6):
        scene.end(scene.take(), error="refused by the provider")
    assert len(scene.jobs("failed")) == 3
    return Found(ids)


def doom(scene: Scene) -> None:
    """Let the next job stall once too often, with no worker to pick it up.

    A worker that looked for stalled jobs keeps the others from looking for as long as its own interval is.
    """
    scene.raw.delete(scene.world.queue.key("stalled-check"))
    holder = scene.hire(**QUICK_TO_STALL)
    job = scene.take()
    scene.dismiss(holder)
    scene.ask("pause")
    checker = scene.hire(**QUICK_TO_STALL, maxStalledCount=0)
    until(lambda: job not in scene.jobs("active"))
    scene.dismiss(checker)
    scene.ask("resume")
    assert job in scene.jobs("failed" if scene.station.major == 4 else "wait")


# -- jobs that wait their turn ----------------------------------------------------------------------------------------


def waiting(scene: Scene) -> Found:
    busy = scene.keep_busy()
    scene.enqueue(scene.campaign())
    assert len(scene.jobs("wait")) == 3
    return Found(in_hand=[busy])


def prioritized(scene: Scene) -> Found:
    busy = scene.keep_busy()
    scene.enqueue(scene.campaign(), priority=5)
    assert len(scene.jobs("prioritized")) == 3
    return Found(in_hand=[busy])


def delayed(scene: Scene) -> Found:
    scene.hire()
    scene.enqueue(scene.campaign(), delay=600_000)
    assert len(scene.jobs("delayed")) == 3
    return Found()


def waiting_for_children(scene: Scene) -> Found:
    scene.hire()
    parent = scene.batch(scene.campaign())
    parent_id, child = scene.ask("flow", parent=parent, children=[{"name": "renderTexts", "data": {}}])
    assert scene.take() == child
    assert scene.jobs("waiting-children") == [parent_id]
    return Found(in_hand=[child])


def between_attempts(scene: Scene) -> Found:
    scene.hire()
    scene.enqueue(scene.campaign(), attempts=5, backoff={"type": "exponential", "delay": 600_000})
    for _ in range(3):
        scene.end(scene.take(), error="the provider is away")
    assert len(scene.jobs("delayed")) == 3
    return Found()


def in_a_workers_hands(scene: Scene) -> Found:
    scene.hire(concurrency=3)
    scene.enqueue(scene.campaign())
    held = [scene.take() for _ in range(3)]
    assert len(scene.jobs("active")) == 3
    return Found(in_hand=held)


def rate_limited(scene: Scene) -> Found:
    limited = scene.hire(limiter={"max": 1, "duration": 600_000})
    scene.ask("add", jobs=[{"name": "exportContacts", "data": {}}])
    scene.end(scene.take())
    scene.enqueue(scene.campaign())

    def lift() -> None:
        scene.dismiss(limited)
        scene.raw.delete(scene.world.queue.key("limiter"))

    return Found(mend=lift)


def draining(scene: Scene) -> Found:
    scene.hire()
    scene.enqueue(scene.campaign())
    scene.send(scene.take())
    return Found(in_hand=[scene.take()])


# -- no worker works --------------------------------------------------------------------------------------------------


def paused(scene: Scene) -> Found:
    """Some of its jobs are lost; but a paused queue is somebody's doing."""
    scene.hire()
    scene.ask("pause")
    ids = scene.campaign()
    first, *_ = scene.enqueue(ids)
    scene.remove(first)

    def resume() -> None:
        scene.ask("resume")
        held = scene.take()
        assert verdicts(scene.world.sweep()) == {"it": Verdict.JOBS_LOST}
        assert scene.recipients(scene.jobs(*LIVE)) == Counter(ids)
        scene.send(held)

    return Found(mend=resume)


def without_workers(scene: Scene) -> Found:
    scene.enqueue(scene.campaign())
    return Found()


def without_workers_and_some_lost(scene: Scene) -> Found:
    ids = scene.campaign()
    first, *_ = scene.enqueue(ids)
    scene.remove(first)
    return Found(ids[:2])


def left_by_a_dead_worker(scene: Scene) -> Found:
    """Only a live worker looks for stalled jobs: with none connected, `active` stays for ever."""
    scene.enqueue(scene.campaign(), size=6)
    holder = scene.hire(**QUICK_TO_STALL)
    scene.take()
    scene.dismiss(holder)
    assert len(scene.jobs("active")) == 1
    return Found(mend=lambda: scene.hire(**QUICK_TO_STALL, maxStalledCount=3))


def with_workers_of_another_database_only(scene: Scene) -> Found:
    """Staging and production on one server, under one prefix: `CLIENT LIST` shows the workers of both."""
    elsewhere = scene.hire(connection={"port": scene.port, "db": 1, "maxRetriesPerRequest": None})
    scene.enqueue(scene.campaign())
    return Found(mend=lambda: scene.dismiss(elsewhere))


# -- what we did ourselves --------------------------------------------------------------------------------------------


def just_re_enqueued(scene: Scene) -> Found:
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    assert verdicts(scene.world.sweep()) == {"it": Verdict.JOBS_LOST}
    scene.remove(*scene.jobs(*LIVE))

    def wait() -> None:
        scene.policy(cooldown_seconds=0)
        put_back(scene, ids)

    return Found(mend=wait)


def re_enqueued_and_at_work(scene: Scene) -> Found:
    """Our own job covers its recipients like any other."""
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    scene.hire()
    scene.world.sweep()
    return Found(in_hand=[scene.take()])


def given_up(scene: Scene) -> Found:
    scene.policy(cooldown_seconds=0, max_attempts=2)
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    scene.hire()
    for _ in range(2):
        scene.world.sweep()
        scene.end(scene.take())

    def retry() -> None:
        retry_quarantined(scene.world.platform, "it", Person("Kim", "the worker was mended", "by-hand"))
        put_back(scene, ids)

    return Found(mend=retry)


def put_back(scene: Scene, ids: Collection[str]) -> None:
    assert verdicts(scene.world.sweep()) == {"it": Verdict.JOBS_LOST}
    assert scene.recipients(scene.jobs(*LIVE)) == Counter(ids)


# -- unreadable queues ------------------------------------------------------------------------------------------------


def of_an_unknown_version(scene: Scene, version: str = "bullmq:7.0.0") -> Found:
    known = scene.version()
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    scene.set_version(version)

    def return_to_known() -> None:
        scene.set_version(known)
        put_back(scene, ids)

    return Found(mend=return_to_known)


def of_bullmq_pro(scene: Scene) -> Found:
    return of_an_unknown_version(scene, "bullmq-pro:7.26.0")


def with_groups(scene: Scene) -> Found:
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    groups = scene.world.queue.key("groups")
    scene.raw.zadd(groups, {TENANT: 1})

    def ungroup() -> None:
        scene.raw.delete(groups)
        put_back(scene, ids)

    return Found(mend=ungroup)


def with_an_undecodable_job(scene: Scene) -> Found:
    ids = scene.campaign()
    scene.remove(*scene.enqueue(ids))
    (unclear,) = scene.ask("add", jobs=[{"name": "sendBulkSMS", "data": {"recipients": ids}}])

    def clear_up() -> None:
        scene.remove(unclear)
        put_back(scene, ids)

    return Found(mend=clear_up)


MATRIX: dict[Callable[[Scene], Found], Verdict] = {
    removed: Verdict.JOBS_LOST,
    removed_but_for_one: Verdict.JOBS_LOST,
    completed_unwritten_and_removed: Verdict.JOBS_LOST,
    completed_unwritten_and_kept: Verdict.AMBIGUOUS,
    marked_in_part: Verdict.JOBS_LOST,
    marked: Verdict.AMBIGUOUS,
    out_of_attempts: Verdict.JOBS_FAILED,
    waiting: Verdict.BACKLOG,
    prioritized: Verdict.BACKLOG,
    delayed: Verdict.BACKLOG,
    waiting_for_children: Verdict.BACKLOG,
    between_attempts: Verdict.BACKLOG,
    in_a_workers_hands: Verdict.BACKLOG,
    rate_limited: Verdict.BACKLOG,
    re_enqueued_and_at_work: Verdict.BACKLOG,
    draining: Verdict.PROGRESSING,
    paused: Verdict.QUEUE_PAUSED,
    without_workers: Verdict.NO_WORKERS,
    without_workers_and_some_lost: Verdict.NO_WORKERS,
    left_by_a_dead_worker: Verdict.NO_WORKERS,
    with_workers_of_another_database_only: Verdict.NO_WORKERS,
    just_re_enqueued: Verdict.COOLDOWN,
    given_up: Verdict.QUARANTINED,
    of_an_unknown_version: Verdict.QUEUE_UNREADABLE,
    of_bullmq_pro: Verdict.QUEUE_UNREADABLE,
    with_groups: Verdict.QUEUE_UNREADABLE,
    with_an_undecodable_job: Verdict.UNCLEAR_JOBS,
}


@pytest.mark.parametrize("cause", MATRIX, ids=lambda cause: cause.__name__)
def test_a_cause_has_its_verdict_and_everybody_is_sent_to_once(scene: Scene, cause: Callable[[Scene], Found]) -> None:
    found = cause(scene)
    everybody = Counter(scene.world.app.recipient_ids("it"))
    before, untouched = scene.states(), everything(scene)
    assert verdicts(dry_run(scene.world.platform)) == {"it": MATRIX[cause]}
    assert everything(scene) == untouched

    report = scene.world.sweep()
    assert verdicts(report) == {"it": MATRIX[cause]}
    assert added_since(scene, before) == Counter(found.missing)
    (planned,) = [item for item in report.stuck if item.target == "it"]
    assert (planned.kind == "reenqueue") is bool(found.missing)

    found.mend()
    scene.work_off(found.in_hand)
    assert scene.sent == everybody
    check_our_jobs(scene)
    assert verdicts(scene.world.sweep()) == {"it": Verdict.FINISHED}
    assert scene.world.app.campaign("it")["status"] == "sent"


def test_a_job_that_stalled_too_often_is_put_back_once_it_has_failed(scene: Scene) -> None:
    """BullMQ 5.53 and later put it back with `defa` set, and fail it when it is taken; BullMQ 4 fails it at once."""
    ids = scene.campaign()
    scene.enqueue(ids, size=6)
    doom(scene)
    if scene.station.major > 4:
        assert verdicts(scene.world.sweep()) == {"it": Verdict.NO_WORKERS}
        assert len(scene.jobs(*LIVE)) == 1
        worker = scene.hire()
        until(lambda: scene.jobs("failed"))
        scene.dismiss(worker)
    assert verdicts(scene.world.sweep()) == {"it": Verdict.JOBS_FAILED}
    scene.work_off([])
    assert scene.sent == Counter(ids)


def verdicts(report: HealthReport) -> dict[str, Verdict | None]:
    return {item.target: item.verdict for item in report.stuck}


def everything(scene: Scene) -> object:
    """The platform's rows, ours, and every job with its state."""
    with scene.world.app.engine.connect() as connection:
        ours = database_fingerprint(connection, "campaign_ops")
    states = scene.states()
    data = {job: scene.world.queue.job_data(job) for ids in states.values() for job in ids}
    return scene.world.app.fingerprint(), ours, states, data


def added_since(scene: Scene, before: dict[str, list[str]]) -> Counter[str]:
    """In how many new jobs each recipient stands; the old jobs must be where they were."""
    known = {job for ids in before.values() for job in ids}
    now = scene.states()
    kept = {state: [job for job in ids if job in known] for state, ids in now.items()}
    assert {state: ids for state, ids in kept.items() if ids} == before
    new = [job for ids in now.values() for job in ids if job not in known]
    assert all(job.startswith("ops-") for job in new)
    return scene.recipients(new)


def check_our_jobs(scene: Scene) -> None:
    """Node saw our jobs as the application would have made them, and removed them when they were done."""
    profile = scene.world.queue.profile
    for job, seen in scene.received.items():
        if job.startswith("ops-"):
            assert seen["name"] == profile.job
            assert seen["data"].keys() == {"campaignId", "shopId", "recipientIds"}
            assert seen["data"]["shopId"] == TENANT
            assert seen["opts"]["attempts"] == profile.options["attempts"]
            assert seen["opts"]["backoff"] == profile.options["backoff"]
            assert not scene.raw.exists(scene.world.queue.key(job)) or job in scene.jobs("completed")


def test_a_campaign_that_drains_is_left_alone_until_it_is_done(scene: Scene) -> None:
    ids = scene.campaign()
    scene.enqueue(ids)
    scene.hire()
    for number in range(1, 4):
        scene.send(scene.take())
        expected = Verdict.PROGRESSING if number < 3 else Verdict.FINISHED
        assert verdicts(scene.world.sweep()) == {"it": expected}
    assert scene.sent == Counter(ids)
    assert not any(job.startswith("ops-") for job in scene.received)
    assert scene.world.app.campaign("it")["status"] == "sent"


@pytest.mark.parametrize(
    "options", [{"priority": 7}, {"lifo": True}, {"delay": 50}, {"removeOnComplete": True}], ids=str
)
def test_jobs_of_ours_reach_an_idle_worker_whatever_their_options(
    worlds: Worlds, station: Station, options: dict[str, Any]
) -> None:
    profile = load_profile("sms")
    assert profile.queue is not None
    ours = profile.queue.model_copy(update={"options": {**profile.queue.options, **options}})
    with closing(Scene(worlds.make(profile.model_copy(update={"queue": ours})), station)) as scene:
        ids = scene.campaign()
        scene.hire(drainDelay=1)  # BullMQ 4 does not know today's wake-up call for priorities; it looks by itself
        assert verdicts(scene.world.sweep()) == {"it": Verdict.JOBS_LOST}
        scene.send(scene.take())
        assert scene.sent == Counter(ids)
        assert verdicts(scene.world.sweep()) == {"it": Verdict.FINISHED}


def test_causes_that_share_a_queue_are_told_apart(scene: Scene) -> None:
    """Evidence of one campaign never speaks for another."""
    ids = {label: scene.campaign(label) for label in SHARED}
    # What the first worker makes, one after the other, until it holds a job for good.
    scene.hire(forgets=False)
    for label, error, options in (
        ("lied", None, {}),
        ("failed", "refused by the provider", {}),
        ("between", "the provider is away", {"attempts": 3, "backoff": 600_000}),
    ):
        scene.enqueue(ids[label], label, size=6, **options)
        scene.end(scene.take(), error)
    scene.enqueue(ids["draining"], "draining", size=3)
    scene.send(scene.take())
    held = [scene.take()]
    # What stands in the queue behind it. The doomed job is first in line, for a second worker that dies with it.
    scene.enqueue(ids["doomed"], "doomed", size=6)
    doom(scene)
    for label, options in (("waiting", {}), ("urgent", {"priority": 5}), ("later", {"delay": 600_000})):
        scene.enqueue(ids[label], label, **options)
    scene.ask("flow", parent=scene.batch(ids["parent"], "parent"), children=[{"name": "renderTexts", "data": {}}])
    first, *_ = scene.enqueue(ids["half"], "half")
    for label in ("lost", "marked", "cooling"):
        scene.remove(*scene.enqueue(ids[label], label))
    scene.remove(first)
    scene.world.queue.mark(ids["marked"])
    scene.deliver(ids["done"])
    re_enqueue_in_vain(scene, "cooling", others=[label for label in SHARED if label != "cooling"])

    before = scene.states()
    report = scene.world.sweep()
    failed_at_once = {"doomed": Verdict.JOBS_FAILED} if scene.station.major == 4 else {}
    assert verdicts(report) == SHARED | failed_at_once
    put_back_now = [one for label in ("lost", "failed", *failed_at_once) for one in ids[label]]
    assert added_since(scene, before) == Counter([*put_back_now, *ids["half"][:2]])

    scene.work_off(held)
    left = {"lied": Verdict.AMBIGUOUS, "marked": Verdict.AMBIGUOUS, "cooling": Verdict.COOLDOWN}
    later = {} if failed_at_once else {"doomed": Verdict.JOBS_FAILED}
    sent_to = [label for label in SHARED if label not in left | later]
    assert scene.sent == Counter(one for label in sent_to for one in ids[label])
    check_our_jobs(scene)
    over = {label: Verdict.FINISHED for label in sent_to if label != "done"}
    # More at once than the breaker lets pass.
    assert verdicts(scene.world.confirmed_sweep()) == over | left | later
    if later:
        scene.work_off([])
        assert verdicts(scene.world.sweep()) == {"doomed": Verdict.FINISHED} | left
    assert verdicts(scene.world.sweep()) == left
    assert scene.jobs(*LIVE) == []


def re_enqueue_in_vain(scene: Scene, label: str, *, others: Collection[str]) -> None:
    """A sweep that saw nothing but this campaign put it back, and its job was lost again."""
    known = scene.jobs(*LIVE)
    for other in others:
        scene.world.app.set_campaign(other)
    assert verdicts(scene.world.sweep()) == {label: Verdict.JOBS_LOST}
    scene.remove(*(job for job in scene.jobs(*LIVE) if job not in known))
    for other in others:
        scene.world.app.set_campaign(other, updated_ago=minutes(40))


SHARED = {
    "lost": Verdict.JOBS_LOST,
    "lied": Verdict.AMBIGUOUS,
    "half": Verdict.JOBS_LOST,
    "failed": Verdict.JOBS_FAILED,
    "doomed": Verdict.BACKLOG,
    "waiting": Verdict.BACKLOG,
    "urgent": Verdict.BACKLOG,
    "later": Verdict.BACKLOG,
    "parent": Verdict.BACKLOG,
    "between": Verdict.BACKLOG,
    "draining": Verdict.PROGRESSING,
    "marked": Verdict.AMBIGUOUS,
    "cooling": Verdict.COOLDOWN,
    "done": Verdict.FINISHED,
}
