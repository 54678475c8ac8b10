"""The worlds of a drill: the draw, the options, and each world's platform, built and swept once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from campaign_ops.bullmq.queue import QueueAddress
from campaign_ops.bullmq.queue_group import open_queue as open_ours
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.demo.platforms import changed
from campaign_ops.lab.drill.checkers import putting_back, safety
from campaign_ops.lab.drill.checkers import worlds as figures
from campaign_ops.lab.drill.environment.environment import profile_changes, shape_of
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.scoreboard import Scoreboard
from campaign_ops.lab.drill.script import make_script
from campaign_ops.lab.drill.workload import Workload
from campaign_ops.lab.drill.worlds import PLAIN, WORLDS, chosen, drawn
from campaign_ops.lab.shop.queues import TENANTS, open_queue
from campaign_ops.profile.load import load_profile
from tests.conftest import Worlds
from tests.lab.drill.checked_world import OPS, POLICY, CheckedWorld, checked_world
from tests.lab.drill.test_scoreboard import printed

SEEDS = range(200)


def options(*worlds: str) -> DrillOptions:
    return DrillOptions(Path("unused"), seed=7, seconds=60, worlds=worlds)


def test_seeds_draw_every_world_some_of_them_together_and_often_none() -> None:
    draws = [drawn(seed, node=True) for seed in SEEDS]
    assert draws == [drawn(seed, node=True) for seed in SEEDS]
    met = Counter(name for names in draws for name in names)
    assert set(met) == set(WORLDS)
    assert min(met.values()) > len(SEEDS) / 20
    assert draws.count(()) > len(SEEDS) / 40
    assert max(map(len, draws)) > 2
    by_client = {name for name, world in WORLDS.items() if world.clients}
    assert [drawn(seed) for seed in SEEDS] == [tuple(n for n in names if n not in by_client) for names in draws]
    beside = {name for name, world in WORLDS.items() if world.beside}
    external = [drawn(seed, node=True, embedded=False) for seed in SEEDS]
    assert external == [tuple(n for n in names if n not in beside) for names in draws]
    for names in draws:
        parts = [WORLDS[name].part for name in names]
        assert len(set(parts)) == len(parts)


def test_a_person_chooses_worlds_that_fit_together() -> None:
    assert chosen([], 3) == drawn(3)
    assert chosen([PLAIN], 3) == ()
    assert chosen(["no_foreign_keys", "uuid_ids", "uuid_ids"], 3) == ("uuid_ids", "no_foreign_keys")
    for names, complaint in (
        (["uuid_id"], "there is no world 'uuid_id'"),
        (["uuid_ids", "bigint_ids"], "uuid_ids and bigint_ids both change the ids"),
        ([PLAIN, "uuid_ids"], "plain is the platform without a world"),
        (["mixed_clients"], "mixed_clients needs Node's clients"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            chosen(names, 3)
    with pytest.raises(ConfigurationError, match="counters needs a database of its own"):
        chosen(["counters"], 3, embedded=False)


def test_the_scoreboard_names_the_worlds_and_its_command_draws_none() -> None:
    board = Scoreboard(options=options("uuid_ids", "own_cron"), began=datetime.now(UTC), seconds=1, figures=())
    assert "--world uuid_ids --world own_cron" in " ".join(printed(board)[:2])
    assert board.to_json()["worlds"] == {name: WORLDS[name].what for name in ("uuid_ids", "own_cron")}
    assert "--world plain" in options().command


def test_the_application_acts_as_its_worlds_say_and_in_no_other() -> None:
    plain = make_script(options(), ["lose_jobs"])
    for world in WORLDS.values():
        more = {event.name for event in make_script(options(world.name), ["lose_jobs"]) if event not in plain}
        assert more == set(world.acts)
        assert all(callable(getattr(Workload, name)) for name in world.acts)


def built(worlds: Worlds, names: tuple[str, ...], work_dir: Path) -> CheckedWorld:
    """A platform in these worlds, with the ledger, swept under our own role with the documented grants."""
    profile = changed(load_profile("sms"), profile_changes(names))
    world = worlds.make(profile, shape=shape_of(names), policy=POLICY)
    assert world.queue_url is not None
    assert profile.queue is not None
    world.jobs = open_queue(world.queue_url, world.queue.prefix, profile.queue, numeric_ids=shape_of(names).numeric_ids)
    stage = checked_world(world, work_dir)
    world.platform.queue = open_ours(QueueAddress(world.queue_url, world.queue.prefix), profile.queue)
    world.platform.queue.facts = world.platform
    for name in names:
        for statement in WORLDS[name].statements(profile, OPS):
            stage.owner(statement)
    return stage


def packed() -> list[tuple[str, ...]]:
    """All worlds, on as few platforms as their parts allow."""
    platforms: list[dict[str, str]] = []
    for name, world in WORLDS.items():
        free = next((parts for parts in platforms if world.part not in parts), None)
        if free is None:
            platforms.append(free := {})
        free[world.part] = name
    return [tuple(parts.values()) for parts in platforms]


@pytest.mark.parametrize("names", packed(), ids="+".join)
def test_platforms_in_every_world_are_built_and_swept(worlds: Worlds, work_dir: Path, names: tuple[str, ...]) -> None:
    """Some of a campaign's jobs are lost; the sweep puts back what they listed, and the drill sees it."""
    stage = built(worlds, names, work_dir)
    app, queue = stage.world.app, stage.world.queue
    queue.open()
    with stage.watcher() as watcher:
        for campaign, tenant in zip(("cmp_1", "cmp_2"), TENANTS, strict=False):
            key = app.add_campaign(campaign, tenant=tenant, pending=60)
            jobs = queue.add(key, tenant, app.pending_ids(campaign), batch_size=20)
        watcher.look()
        queue.remove(jobs[:2])
        stage.world.sweep()
        watcher.look()
        watcher.sample(1.0, 1)
    listed = Counter(one for job in queue.live_job_ids() for one in map(str, queue.job_data(job)["recipientIds"]))
    assert listed == Counter([*app.pending_ids("cmp_1"), *app.pending_ids("cmp_2")])
    assert sum(len(job.recipient_ids or ()) for job in stage.records().watched.jobs.values()) == 40
    stage.holds(safety.in_two_jobs)
    stage.holds(putting_back.put_back_sent)
    app.move_recipients("cmp_1", "succeeded")
    met = {figure.key: figure.holds for figure in figures.met(stage.records(), options(*names))}
    static = {name for name in names if not WORLDS[name].acts and not WORLDS[name].clients}
    assert met == {f"world_{name}": name in static for name in names}
    stage.owner(f"ALTER ROLE {OPS} NOBYPASSRLS")
