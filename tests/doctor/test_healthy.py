"""A healthy platform, in every shape, examined as a role with exactly the rights needed."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.core.causes import Cause
from campaign_ops.core.incidents import Symptom
from campaign_ops.core.model import Counters
from campaign_ops.doctor import Level, examine, grants
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.shop.row_writer import PlatformShape, hours
from campaign_ops.profile.load import load_profile
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.incidents import acknowledge, resolve, silence
from campaign_ops.watch.notify import send_due
from tests.conftest import World, Worlds
from tests.doctor.bench import complaints, least, run, the
from tests.watch.looking import bad, good, open_one, watch
from tests.watch.receivers import webhook

ENUMS = PlatformShape(ids="integer", statuses="enum", timestamps="aware", amounts="numeric")
ELSEWHERE = {"db_schema": 'Shop "one"'}

SHAPES: list[Any] = [
    pytest.param({}, PlatformShape(), id="text"),
    pytest.param({}, ENUMS, id="enum"),
    pytest.param(ELSEWHERE, PlatformShape(ids="uuid", statuses="enum"), id="another-schema"),
]


def busy_sms(world: World) -> None:
    """One campaign for each kind of repair."""
    world.app.add_campaign("finished", succeeded=3)
    world.app.add_reservation(campaign="finished")
    world.app.add_campaign("lost", pending=4, succeeded=1)
    world.app.add_campaign("over", status=world.app.profile.campaign.words.done, succeeded=1)
    world.app.add_reservation("leaked", campaign="over", created_ago=hours(5))


@pytest.mark.parametrize(("where", "shape"), SHAPES)
def test_a_sweep_needs_no_other_rights_than_those_that_are_granted(
    worlds: Worlds, where: dict[str, str], shape: PlatformShape
) -> None:
    world = worlds.make(load_profile("sms").model_copy(update=where), shape=shape)
    role = least(world)
    busy_sms(world)
    assert complaints(examine(world.platform)) == []
    figures = world.sweep().figures()
    assert (figures["completed"], figures["reenqueued"], figures["released"]) == (1, 1, 2)
    assert world.app.campaign("finished")["status"] == "sent"
    assert world.app.reservation("leaked")["status"] == "released"
    assert len(world.queue.live_job_ids()) == 1
    assert the(examine(world.platform), "role").what.endswith("an ordinary one")
    (repair,) = world.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'complete'")
    undo(world.platform, repair["id"], Person(role, "it was not", "r1"))
    assert world.app.campaign("finished")["status"] == "sending"


@pytest.mark.parametrize("shape", [PlatformShape(), ENUMS], ids=["text", "enum"])
def test_a_platform_with_counters_and_no_queue_needs_no_other_rights_either(
    worlds: Worlds, shape: PlatformShape
) -> None:
    world = worlds.make("messenger", shape=shape)
    least(world)
    world.app.add_campaign("finished", succeeded=3, counters=Counters(3, 1, 0), started_ago=hours(2))
    world.app.add_campaign("behind", succeeded=2, counters=Counters(5, 0, 0))
    assert complaints(examine(world.platform)) == []
    figures = world.sweep().figures()
    assert figures["completed"] == 1
    assert world.app.campaign("finished")["succeeded"] == 3
    assert the(examine(world.platform), "queue").level is Level.OK


def test_incidents_and_notifications_need_no_other_rights_either(sms: World) -> None:
    least(sms)
    stuck = Symptom(Cause.STUCK, count=1)
    with webhook() as hook:
        notify = Notify(channels=(hook.channel(),))
        number = open_one(sms, stuck, notify)
        acknowledge(sms.platform, number, by="ann", reason="why")
        silence(sms.platform, number, until=hours(1), by="ann", reason="why")
        resolve(sms.platform, number, notify, by="ann", reason="why")
        bad(sms, Symptom(Cause.BACKLOG, count=1))
        good(sms, Cause.BACKLOG)
        assert send_due(sms.platform, notify.channels).sent == 2
    watch(sms)
    sms.sweep()
    assert complaints(examine(sms.platform)) == []


def test_a_dry_run_needs_no_schema_of_ours_but_a_sweep_does(worlds: Worlds) -> None:
    world = worlds.make("sms", migrated=False)
    (missing,) = complaints([one for one in examine(world.platform) if one.check != "role"])
    assert missing.check == "journal"
    assert "campaign-ops migrate" in missing.mend


def test_a_watcher_that_has_stopped_is_a_warning_and_that_there_never_was_one_a_note(sms: World) -> None:
    assert the(examine(sms.platform), "watcher").level is Level.NOTE
    watch(sms)
    assert the(examine(sms.platform), "watcher").level is Level.OK
    sms.rows("UPDATE campaign_ops.watcher_look SET looked_at = now() - interval '1 hour' RETURNING tables")
    stopped = the(examine(sms.platform), "watcher")
    assert (stopped.level, "the last look of a watcher is 60 min old" in stopped.what) == (Level.WARNING, True)


def test_the_grants_may_be_run_again(sms: World) -> None:
    role = least(sms)
    run(sms, *grants(sms.platform.profile, role))
    assert complaints(examine(sms.platform)) == []


def test_examining_changes_nothing(sms: World) -> None:
    busy_sms(sms)
    before = sms.app.fingerprint()
    examine(sms.platform)
    assert sms.app.fingerprint() == before
    assert sms.queue.live_job_ids() == []
    assert sms.rows("SELECT * FROM campaign_ops.sweep") == []


def test_a_superuser_is_warned_of_and_may_sweep(sms: World) -> None:
    (warning,) = complaints(examine(sms.platform))
    assert (warning.check, warning.level) == ("role", Level.WARNING)
    sms.app.add_campaign(succeeded=1)
    assert sms.sweep().figures()["completed"] == 1
