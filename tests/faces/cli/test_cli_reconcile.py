"""`reconcile` and `plan`: the state after a real sweep, and the text that a person sees."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.lab.shop.row_writer import minutes
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, BROKEN, Program, configured, entry, lines_with, one_line, run


def test_a_sweep_repairs_what_is_safe_and_says_what_it_did(program: Program, sms: World) -> None:
    campaign = sms.app.add_campaign("finished", name="Spring sale", succeeded=40, failed=2)
    sms.app.add_reservation("hold", campaign=campaign, amount=30)
    sms.app.add_campaign("lost", pending=600)
    over = sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign=over, amount=12)
    result = program("reconcile")
    assert sms.app.campaign("finished")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"
    assert sms.app.reservation("leak")["status"] == "released"
    assert {sms.queue.campaign_of(job) for job in sms.queue.live_job_ids()} == {"lost"}
    assert result.exit_code == 0, result.output
    assert lines_with(result.stdout, "completed", "finished", "40 succeeded, 2 failed of 42", "Spring sale")
    assert lines_with(result.stdout, "re-enqueued", "lost", "jobs_lost", "600 in none")
    assert lines_with(result.stdout, "released", "leak", "its campaign is over (cancelled)")
    assert lines_with(result.stdout, "released", "hold", "with its campaign")
    assert "Did: completed 1, re-enqueued 1 (2 jobs, 600 recipients), released 2" in result.stdout
    assert result.stderr == ""


def test_every_repair_is_journaled_in_the_name_of_the_user(program: Program, sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    program("reconcile")
    (sweep,) = sms.rows("SELECT trigger, actor, run_id FROM campaign_ops.sweep")
    assert sweep["trigger"] == "cli"
    assert sweep["actor"]
    assert sweep["run_id"].startswith("cli-")


def test_what_is_left_alone_and_what_needs_a_person_are_listed_separately(program: Program, sms: World) -> None:
    sms.app.add_campaign("slow", pending=5, succeeded=5, moved_ago=minutes(2))
    sms.app.add_campaign("empty")
    result = program("reconcile")
    assert result.exit_code == 5
    alone, person = result.stdout.split("Needs a person (1)")
    assert lines_with(alone.split("Left alone (1)")[1], "slow", "progressing", "slow, not stuck")
    assert lines_with(person, "empty", "without a single recipient")
    assert sms.app.campaign("empty")["status"] == "sending"


def test_a_sweep_without_work_prints_three_lines(program: Program) -> None:
    result = program("reconcile")
    assert result.exit_code == 0
    headline, looked, _, did = result.stdout.splitlines()
    assert headline == "sms: 0 stuck of 0 sending, nothing needs a person"
    assert looked.startswith("as of 2")
    assert did == "Did: completed 0, re-enqueued 0, released 0, recounted 0"


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(worlds: Worlds, tmp_path: Path) -> None:
    """Before `migrate` too: a new operator tries it first."""
    world = worlds.make("sms", migrated=False)
    world.app.add_campaign("finished", succeeded=3)
    world.app.add_campaign("lost", pending=3)
    before = world.app.fingerprint()
    result = configured(tmp_path, world)("reconcile", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "dry run: nothing was changed" in result.stdout
    planned = result.stdout.split("Would be done (2)")[1]
    assert lines_with(planned, "complete", "finished")
    assert lines_with(planned, "re-enqueue", "lost")
    assert "Would: complete 1, re-enqueue 1, release 0, recount 0" in result.stdout
    assert world.app.fingerprint() == before
    assert world.queue.live_job_ids() == []


def test_the_plan_shows_every_line_with_its_reason_and_changes_nothing(program: Program, sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_campaign("empty")
    over = sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign=over, amount=12)
    result = program("plan")
    assert result.exit_code == 5
    assert lines_with(result.stdout, "complete", "finished", "nothing pending")
    assert lines_with(result.stdout, "-", "empty", "needs a person", "without a single recipient")
    assert lines_with(result.stdout, "release", "leak", "credits", "its campaign is over")
    assert sms.app.campaign("finished")["status"] == "sending"
    assert sms.app.reservation("leak")["status"] == "active"
    assert sms.rows("SELECT 1 FROM campaign_ops.sweep") == []


def test_the_plan_as_json_has_a_line_for_everything(program: Program, sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_campaign("lost", pending=3, succeeded=1)
    result = program.only("plan")
    lines = {line["target"]: line for line in result["lines"]}
    assert (lines["finished"]["kind"], lines["finished"]["ending"]) == ("complete", "planned")
    assert (lines["lost"]["kind"], lines["lost"]["verdict"], lines["lost"]["missing"]) == ("reenqueue", "jobs_lost", 3)
    assert result["dry_run"] is True
    assert result["figures"]["stuck"] == 2


def test_the_json_of_a_sweep_says_how_every_line_ended(program: Program, sms: World) -> None:
    campaign = sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_reservation("hold", campaign=campaign)
    sms.app.add_campaign("slow", pending=5, succeeded=5, moved_ago=minutes(2))
    result = program.only("reconcile")
    endings = {line["target"]: line["ending"] for line in result["lines"]}
    assert endings == {"finished": "done", "hold": "done", "slow": "left"}
    assert result["figures"]["completed"] == 1


def test_lost_batches_put_back_where_no_worker_is_connected_still_need_a_person(program: Program, sms: World) -> None:
    sms.app.add_campaign("half", pending=4)
    sms.queue.add("half", "shop_north", sms.app.pending_ids("half")[:2])
    result = program("reconcile")
    assert result.exit_code == 5
    done, person = result.stdout.split("Needs a person (1)")
    assert lines_with(done.split("Done (1)")[1], "re-enqueued", "half", "no_workers")
    assert lines_with(person, "half", "no worker is connected")


def test_a_late_reservation_released_with_its_campaign_needs_no_person(program: Program, sms: World) -> None:
    """Planned as held, since its campaign was sending; the same sweep completed the campaign and released it."""
    campaign = sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_reservation("late", campaign=campaign, expires_in=-minutes(5))
    result = program.only("reconcile")
    assert sms.app.reservation("late")["status"] == "released"
    (line,) = [line for line in result["lines"] if line["target"] == "late"]
    assert (line["ending"], line["needs_person"]) == ("done", False)


def test_a_campaign_that_the_database_refuses_is_reported_and_stops_no_other(program: Program, sms: World) -> None:
    sms.app.add_campaign("good", succeeded=3)
    sms.app.add_campaign("cursed", succeeded=3)
    with sms.app.engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.id = 'cursed' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$"
            )
        )
        connection.execute(
            sa.text('CREATE TRIGGER refuse BEFORE UPDATE ON "Campaign" FOR EACH ROW EXECUTE FUNCTION refuse()')
        )
    result = program("reconcile")
    assert sms.app.campaign("good")["status"] == "sent"
    assert result.exit_code == 5
    assert lines_with(result.stdout.split("Failed (1)")[1], "complete", "cursed", "not this one")
    assert "Traceback" not in result.output


def test_a_tripped_breaker_is_marked_and_the_command_it_prints_confirms_it(program: Program, sms: World) -> None:
    for number in range(12):
        sms.app.add_campaign(f"lost_{number}", pending=2)
    held = program("reconcile")
    assert held.exit_code == 5
    assert sms.queue.live_job_ids() == []
    assert lines_with(held.stdout, "!! HELD BACK: re-enqueue, 12 campaigns", "would re-enqueue 12 of 12")
    (command,) = lines_with(held.stdout, "--confirm ")
    printed = shlex.split(command.removeprefix("!!"))
    assert printed[0] == "campaign-ops"
    confirmed = run(*printed[1:])
    assert confirmed.exit_code == 0, confirmed.output
    assert "was not used" not in confirmed.stderr
    assert len(sms.queue.live_job_ids()) == 12
    mistyped = program("reconcile", "--confirm", "aaaa-bbbb-cccc", "--reason", "x")
    assert lines_with(mistyped.stderr, "aaaa-bbbb-cccc was not used", "no breaker held anything back")


def test_the_command_that_a_plan_prints_confirms_an_emptied_queue(program: Program, sms: World) -> None:
    sms.queue.add("other", "shop_north", ["r1"])
    program("reconcile")
    sms.queue.clear()
    program("reconcile")
    plan = program("plan")
    assert plan.exit_code == 0
    assert lines_with(plan.stdout, "!! queue sms-send: it did not exist", "If this is the queue all the same")
    (command,) = lines_with(plan.stdout, "--confirm ")
    confirmed = run(*shlex.split(command.removeprefix("!!"))[1:])
    assert "was not used" not in confirmed.stderr
    assert sms.rows("SELECT emptied FROM campaign_ops.queue_sighting") == [{"emptied": ""}]


def test_a_tripped_breaker_is_in_the_plan_and_in_the_json(program: Program, sms: World) -> None:
    for number in range(12):
        sms.app.add_campaign(f"lost_{number}", pending=2)
    plan = program("plan")
    assert plan.exit_code == 5
    assert "!! HELD BACK" in plan.stdout
    result = program.only("reconcile", "--dry-run")
    (held,) = result["held_back"]
    assert held["kind"] == "reenqueue"
    assert " --confirm " in held["confirm"]
    assert {line["ending"] for line in result["lines"]} == {"held_back"}


def test_one_breaker_confirmation_is_for_one_platform(worlds: Worlds, tmp_path: Path) -> None:
    first, second = worlds.make("sms"), worlds.make("sms")
    program = configured(tmp_path, entry(first, "first"), entry(second, "second"))
    first.app.add_campaign("finished", succeeded=1)
    result = program("reconcile", "--confirm", "aaaa-bbbb-cccc", "--reason", "x")
    assert result.exit_code == 2
    assert "--confirm" in result.stderr
    assert first.app.campaign("finished")["status"] == "sending"


@pytest.mark.parametrize("option", ["--reason", "--by"])
def test_a_reason_or_a_name_without_a_code_is_refused(program: Program, sms: World, option: str) -> None:
    sms.app.add_campaign("done", succeeded=1)
    result = program("reconcile", option, "TICKET-1")
    assert result.exit_code == 2
    assert option in result.stderr
    assert "goes with --confirm" in result.stderr
    assert sms.app.campaign("done")["status"] == "sending"


def test_a_confirmation_without_effect_is_refused(program: Program) -> None:
    result = program("reconcile", "--dry-run", "--confirm", "aaaa-bbbb-cccc", "--reason", "x")
    assert result.exit_code == 2
    assert "--dry-run" in result.stderr


def test_while_another_sweep_is_under_way_nothing_is_done_and_its_holder_is_named(program: Program, sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    holder = sms.again()
    with holder.lock(wait_seconds=0).hold():
        result = program("reconcile", "--wait", 0)
        document = program.json("reconcile", "--wait", 0)
    assert result.exit_code == 4
    assert f"another sweep of sms is under way ({holder.database.application_name}, since " in result.stderr
    assert document["platforms"][0]["error"]["kind"] == "SweepBusy"
    assert sms.app.campaign("finished")["status"] == "sending"


def test_a_lenient_sweep_succeeds_where_a_person_is_needed_and_fails_where_a_server_is_away(
    sms: World, tmp_path: Path
) -> None:
    """Kubernetes and systemd count every code but 0 as a failure of the job."""
    program = configured(tmp_path, sms)
    sms.app.add_campaign("empty")
    with sms.again().lock(wait_seconds=0).hold():
        assert program("reconcile", "--wait", 0).exit_code == 4
        assert program("reconcile", "--wait", 0, "--lenient").exit_code == 0
    assert program("reconcile").exit_code == 5
    lenient = program.json("reconcile", "--lenient")
    assert lenient["exit_code"] == 0
    assert lenient["platforms"][0]["exit_code"] == 5
    assert configured(tmp_path, sms, AWAY)("reconcile", "--lenient").exit_code == 1


def test_an_unreadable_queue_is_marked_and_repairs_that_need_no_queue_are_made(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    sms.app.add_campaign("over", status="sent")
    sms.app.add_reservation("leak", campaign="over")
    sms.app.add_campaign("open", pending=1)
    program = configured(tmp_path, entry(sms, queue_url="redis://127.0.0.1:1/0"))
    result = program("reconcile")
    assert result.exit_code == 1
    assert program("plan").exit_code == 1
    assert sms.app.reservation("leak")["status"] == "released"
    assert sms.app.campaign("finished")["status"] == "sending"
    assert lines_with(result.stdout, "!! queue sms-send: ", "Redis cannot be reached")
    for campaign in ("open", "finished"):
        assert lines_with(result.stdout.split("Needs a person (2)")[1], campaign, "queue_unreadable")


@pytest.mark.parametrize("command", ["reconcile", "plan", "status", "doctor", "migrate"])
def test_a_platform_that_is_down_does_not_stop_the_others(command: str, sms: World, tmp_path: Path) -> None:
    program = configured(tmp_path, AWAY, sms)
    document = program.json(command)
    away, up = document["platforms"]
    assert (away["platform"], up["platform"]) == ("away", "sms")
    assert document["exit_code"] == away["exit_code"] == 1
    assert up["error"] is None
    assert up["result"] is not None


def test_a_platform_that_is_down_is_named_on_stderr_and_the_other_is_swept(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    result = configured(tmp_path, AWAY, sms)("reconcile")
    assert result.exit_code == 1
    assert sms.app.campaign("finished")["status"] == "sent"
    assert lines_with(result.stderr, "error: away: 127.0.0.1:1/nothing: ", "nothing listens there; start the server")
    assert "away" not in result.stdout


@pytest.mark.parametrize("command", ["reconcile", "plan", "status", "doctor", "migrate", "config"])
def test_a_broken_entry_does_not_stop_the_others(command: str, sms: World, tmp_path: Path) -> None:
    result = configured(tmp_path, sms, BROKEN)(command)
    assert result.exit_code == 2
    assert lines_with(result.stderr, "error: broken: ", "queu_url", "did you mean queue_url?")
    assert "sms" in result.stdout


def test_a_sweep_before_migrate_says_what_to_run(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", migrated=False)
    world.app.add_campaign("finished", succeeded=1)
    result = configured(tmp_path, world)("reconcile")
    assert result.exit_code == 2
    assert lines_with(result.stderr, "error: ", "schema campaign_ops does not exist; run `campaign-ops migrate`")
    assert world.app.campaign("finished")["status"] == "sending"


def test_a_profile_that_does_not_fit_is_named_and_nothing_is_touched(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    program = configured(tmp_path, entry(sms, profile={"extends": "sms", "campaign": {"status": "state"}}))
    result = program("reconcile")
    assert result.exit_code == 2
    assert lines_with(result.stderr, "error: ", "state")
    assert sms.app.campaign("finished")["status"] == "sending"


def test_the_report_is_also_written_to_a_file(program: Program, sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    path = tmp_path / "health.md"
    assert program("reconcile", "--markdown", path).exit_code == 0
    assert path.read_text().startswith("# sms: 1 stuck of 1 sending")


def test_a_report_that_cannot_be_written_is_refused_before_the_sweep(program: Program, sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=1)
    result = program("reconcile", "--markdown", "/nowhere/health.md")
    assert result.exit_code == 2
    assert one_line(result.stderr) == (
        "error: /nowhere/health.md: cannot be written: No such file or directory; name another file; nothing was done"
    )
    assert sms.app.campaign("finished")["status"] == "sending"


def test_a_report_that_cannot_be_written_after_the_sweep_is_one_line(program: Program, sms: World) -> None:
    """A full disk was "unexpected: OSError", and whether the sweep was made was not said."""
    sms.app.add_campaign("finished", succeeded=1)
    result = program("reconcile", "--markdown", "/dev/full")
    assert result.exit_code == 1
    assert one_line(result.stderr).startswith("error: /dev/full: cannot be written: No space left on device; the sweep")
    assert sms.app.campaign("finished")["status"] == "sent"
    assert "--wait" in program("reconcile", "--wait", "inf").stderr
