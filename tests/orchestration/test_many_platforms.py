"""A deployment of many platforms: a run makes its own, and one sensor asks all of them, so many at a time, in turn."""

from __future__ import annotations

import threading
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)
from dagster._serdes import pack_value

from campaign_ops.core.errors import ConfigurationError, DatabaseUnavailable
from campaign_ops.orchestration.factory import Deployment
from campaign_ops.orchestration.jobs import reconcile_job
from campaign_ops.orchestration.repository import Location, Platforms, code_location, repository
from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.orchestration.rounds import AT_MOST, ask_in_turn, in_words
from campaign_ops.platform import Platform
from campaign_ops.settings import BrokenPlatform, PlatformSettings, Settings
from tests.conftest import World
from tests.orchestration.harness import NOWHERE, configured, materialized
from tests.orchestration.test_definitions import nowhere

WRONG = BrokenPlatform("shop", ConfigurationError("no such key", where="campaign_ops.yaml:7"))


class Counting:
    """Counts the platforms that are connected to; none of them answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, settings: PlatformSettings) -> Platform:
        self.asked.append(settings.name)
        raise DatabaseUnavailable("no server", where=settings.name)


def many(count: int) -> Settings:
    return Settings(Path("c.yaml"), tuple(nowhere(f"p{number:03}") for number in range(count)))


def sources(count: int) -> list[PlatformSource]:
    return [PlatformSource(platform, Counting()) for platform in many(count).platforms]


def test_what_is_made_on_demand_is_what_is_made_at_once() -> None:
    settings = Settings(Path("c.yaml"), (nowhere("sms"), nowhere("chat", "messenger")), (WRONG,))
    deployment = Deployment(settings)
    on_demand, at_once = repository(deployment), code_location(*deployment.parts()).get_repository_def()
    assert pack_value(RepositorySnap.from_def(on_demand)) == pack_value(RepositorySnap.from_def(at_once))
    assert on_demand.asset_graph.get_all_asset_keys() == at_once.asset_graph.get_all_asset_keys()
    for name in at_once.job_names:
        lazy = repository(deployment).get_job(name).get_job_snapshot_id()  # each as a run makes it, alone
        assert lazy == at_once.get_job(name).get_job_snapshot_id(), name


def test_a_run_makes_and_connects_its_own_platform_alone(sms: World, instance: dg.DagsterInstance) -> None:
    """A run of any of 200 platforms took 22 CPU-seconds, because it made all of them."""
    sms.app.add_campaign("done", succeeded=5)
    connected = []

    def connect(settings: PlatformSettings) -> Platform:
        connected.append(settings.name)
        return sms.again()

    platforms = (*many(3).platforms, configured(sms))
    data = Platforms(Deployment(Settings(Path("c.yaml"), platforms, (WRONG,)), "", connect))
    result = data.get_job("sms__reconcile").execute_in_process(instance=instance)
    assert result.success
    assert sms.app.campaign("done")["status"] == "sent"
    assert ({*connected}, [*data.made]) == ({"sms"}, ["sms"])
    assert data.get_job("housekeeping").execute_in_process(instance=instance).success
    assert [*data.made] == ["sms"]


def test_a_run_of_one_asset_makes_its_platform_alone(sms: World, instance: dg.DagsterInstance) -> None:
    """As the "Materialize" button starts it, which knows no job of ours."""
    sms.sweep()
    connect = {"sms": sms}
    location = repository(
        Deployment(
            Settings(Path("c.yaml"), (*many(2).platforms, configured(sms))), "", lambda of: connect[of.name].again()
        )
    )
    keys = {dg.AssetKey(["sms", "stuck_campaigns"])}
    job = location.get_maybe_subset_job_def(IMPLICIT_ASSET_JOB_NAME, asset_selection=keys)
    assert materialized(job.execute_in_process(instance=instance)) == {"stuck_campaigns"}
    assert isinstance(location, Location)
    assert [*location.platforms.made] == ["sms"]
    both = {*keys, dg.AssetKey(["p000", "stuck_campaigns"])}
    assert location.get_maybe_subset_job_def(IMPLICIT_ASSET_JOB_NAME, asset_selection=both).name == job.name


def test_a_run_validates_no_other_platform_of_the_file(tmp_path: Path) -> None:
    lines = [f"  - {{name: p{number}, profile: messenger, database_url: '{NOWHERE}{number}'}}\n" for number in range(3)]
    config = tmp_path / "campaign_ops.yaml"
    config.write_text("platforms:\n" + "".join(lines) + "  - {name: wrong, profile: none, database_url: x}\n")
    data = Platforms(Deployment(config))
    assert data.get_job("p1__reconcile").name == "p1__reconcile"
    assert [*data.made] == ["p1"]
    assert data.get_job("wrong__reconcile").name == "wrong__reconcile"


def test_a_name_with_two_underscores_is_not_taken_for_another_platforms_job() -> None:
    settings = Settings(Path("c.yaml"), (nowhere("eu"), nowhere("eu__sms"), nowhere("eu__plan")))
    for prefix in ("", "eu"):
        head = f"{prefix}__" if prefix else ""
        data = Platforms(Deployment(settings, prefix))
        for job in ("eu__plan", "eu__sms__plan", "eu__plan__plan", "eu__plan__reconcile"):
            assert data.get_job(f"{head}{job}").tags["campaign_ops/platform"] == job.rpartition("__")[0]


def test_a_job_that_no_platform_has_is_an_error_that_says_so() -> None:
    data = Platforms(Deployment(many(2)))
    assert not data.has_job("p009__reconcile")
    with pytest.raises(dg.DagsterInvariantViolationError, match="no platform of the configuration has the job p009"):
        data.get_job("p009__reconcile")


def test_everything_is_made_once_and_jobs_come_from_it_then() -> None:
    data = Platforms(Deployment(many(2)))
    names = data.get_job_names()
    assert [job.name for job in data.get_all_jobs()] == names
    assert (len(names), data.made) == (2 * 9 + 2, {})
    assert all(data.get_job(name) is data.get_job(name) for name in names)
    assert IMPLICIT_ASSET_JOB_NAME in names


def test_each_round_asks_so_many_platforms_and_goes_on_where_the_last_one_ended() -> None:
    platforms = sources(7)
    rounds, after = [], None
    for _ in range(4):
        asked = ask_in_turn(platforms, after, lambda source: source.settings.name, at_most=3)
        after = asked.after
        rounds.append(sorted(asked.answers))
    assert rounds == [
        ["p000", "p001", "p002"],
        ["p003", "p004", "p005"],
        ["p000", "p001", "p006"],
        ["p002", "p003", "p004"],
    ]
    assert ask_in_turn(platforms, "p003", lambda _: "", at_most=9).after is None
    gone = ask_in_turn([platforms[0], platforms[6]], "p005", lambda _: "", at_most=1)
    assert [*gone.answers] == ["p006"]


def test_a_platform_that_hangs_stops_no_other() -> None:
    others, all_others = [], threading.Event()

    def ask(source: PlatformSource) -> bool:
        if source.settings.name == "p000":
            return all_others.wait(60)
        others.append(source.settings.name)
        if len(others) == 39:
            all_others.set()
        return True

    assert all(ask_in_turn(sources(40), None, ask).answers.values())


def test_a_platform_at_which_asking_fails_stops_no_other() -> None:
    def ask(source: PlatformSource) -> str:
        if source.settings.name == "p001":
            raise KeyError("secret")
        return "well"

    asked = ask_in_turn(sources(4), None, ask, at_most=2)
    assert (asked.answers, asked.after) == ({"p000": "well"}, "p001")
    assert asked.failed == {"p001": "failed, see the code server's log: KeyError"}
    assert sorted(ask_in_turn(sources(4), asked.after, ask, at_most=2).answers) == ["p002", "p003"]


def test_when_the_time_is_over_the_rest_is_asked_in_the_next_round() -> None:
    assert ask_in_turn(sources(3), "p000", lambda _: "", seconds=-1).answers == {}
    assert in_words({}) == "no platform to ask"
    assert in_words({f"p{number:02}": "well" for number in range(25)}).endswith("p19: well; and 5 more")


@pytest.mark.parametrize("sensor", ["queue_backlog", "startup_sweep"])
def test_one_sensor_asks_a_thousand_platforms_in_ten_evaluations(sensor: str, instance: dg.DagsterInstance) -> None:
    """Two thousand evaluations every 30 seconds once."""
    counting = Counting()
    platforms = [PlatformSource(platform, counting) for platform in many(1_000).platforms]
    shared = Deployment().shared(platforms, [reconcile_job(source) for source in platforms])
    definition = code_location(shared).get_repository_def().get_sensor_def(sensor)
    cursor, started = None, []
    for _ in range(10):
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            data = definition.evaluate_tick(context)
        cursor = data.cursor
        assert len(data.run_requests or ()) <= AT_MOST
        started += [request.job_name for request in data.run_requests or ()]
    if sensor == "queue_backlog":
        assert sorted(counting.asked) == [platform.name for platform in many(1_000).platforms]
        assert started == []
    else:
        assert started == [f"{platform.name}__reconcile" for platform in many(1_000).platforms]
        assert counting.asked == []
    assert len(cursor or "") < 20_000


def test_a_platform_whose_schedule_was_stopped_is_left_alone(instance: dg.DagsterInstance) -> None:
    """A stopped schedule of the same name in another code location is of another platform: it was left alone, too."""
    here, there = RegisteredCodeLocationOrigin("campaign_ops"), RegisteredCodeLocationOrigin("shop")
    for location, platform in ((here, "p001"), (there, "p002")):
        schedule = RemoteInstigatorOrigin(
            RemoteRepositoryOrigin(location, "__repository__"), f"{platform}__reconcile_schedule"
        )
        stopped = ScheduleInstigatorData("*/10 * * * *")
        instance.add_instigator_state(
            InstigatorState(schedule, InstigatorType.SCHEDULE, InstigatorStatus.STOPPED, stopped)
        )
    counting = Counting()
    shared = code_location(*Deployment(many(3), "", counting).parts()).get_repository_def()
    started = []
    for sensor in ("startup_sweep", "queue_backlog"):
        with dg.SensorEvaluationContext(
            instance.get_ref(), None, None, None, None, "__repository__", instance=instance, code_location_origin=here
        ) as context:
            data = shared.get_sensor_def(sensor).evaluate_tick(context)
        started += [request.job_name for request in data.run_requests or ()]
    assert started == ["p000__reconcile", "p002__reconcile"]
    assert sorted(counting.asked) == ["p000", "p002"]
