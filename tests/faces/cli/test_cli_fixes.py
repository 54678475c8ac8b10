"""The manual fixes: what they change, what they refuse, and the person in the journal."""

from __future__ import annotations

import getpass
import shlex
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.lab.shop.schema import PlatformShape
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, Program, configured, confirmed, entry, lines_with, one_line, run


def test_mark_complete_completes_the_campaign_and_shows_how_to_undo_it(program: Program, sms: World) -> None:
    campaign = sms.app.add_campaign("done", succeeded=5)
    sms.app.add_reservation("hold", campaign=campaign, amount=7)
    result = program.confirmed("mark-complete", "done", "--reason", "TICKET-1", "--by", "ada")
    assert result.exit_code == 0, result.output
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"
    done, undo = result.stdout.splitlines()
    assert done == "sms: campaign done is sent now, 1 reservation released"
    printed = shlex.split(undo.removeprefix("undo it with: "))
    assert confirmed(run(*printed[1:])).exit_code == 0
    assert sms.app.campaign("done")["status"] == "sending"
    assert sms.app.reservation("hold")["status"] == "active"


def test_the_journal_has_the_persons_name_and_reason(program: Program, sms: World) -> None:
    sms.app.add_campaign("first", succeeded=5)
    sms.app.add_campaign("second", succeeded=5)
    program.confirmed("mark-complete", "first", "--reason", "TICKET-1", "--by", "ada")
    program.confirmed("mark-complete", "second", "--reason", "TICKET-2")
    first, second = sms.rows("SELECT actor, reason, person_reason FROM campaign_ops.repair ORDER BY id")
    assert (first["actor"], second["actor"]) == ("ada", getpass.getuser())
    assert [row["person_reason"] for row in (first, second)] == ["TICKET-1", "TICKET-2"]
    assert first["reason"] == "nothing pending: 5 succeeded, 0 failed of 5"


def test_mark_complete_with_pending_recipients_is_refused_with_the_numbers(program: Program, sms: World) -> None:
    sms.app.add_campaign("open", succeeded=3, pending=2)
    result = program.confirmed("mark-complete", "open", "--reason", "hurry")
    assert result.exit_code == 3
    refusal = "campaign open: 2 of 5 recipients still pending; `campaign-ops plan --platform sms` says why"
    assert one_line(result.stderr) == f"error: {refusal}"
    assert result.stdout == ""
    assert sms.app.campaign("open")["status"] == "sending"


def test_a_campaign_that_is_not_sending_is_refused_with_its_status(program: Program, sms: World) -> None:
    sms.app.add_campaign("over", succeeded=1, status="cancelled")
    result = program.confirmed("mark-complete", "over", "--reason", "hurry")
    assert result.exit_code == 3
    assert one_line(result.stderr) == "error: campaign over: its status is 'cancelled', not 'sending'"
    assert sms.app.campaign("over")["status"] == "cancelled"


def test_reenqueue_puts_the_missing_recipients_back(program: Program, sms: World) -> None:
    sms.app.add_campaign("lost", pending=3, succeeded=1)
    result = program.confirmed("reenqueue", "lost", "--reason", "TICKET-1")
    assert result.exit_code == 0, result.output
    (job,) = sms.queue.live_job_ids()
    assert sorted(sms.queue.job_data(job)["recipientIds"]) == sms.app.pending_ids("lost")
    assert "re-enqueued 3 recipients in 1 job of campaign lost" in result.stdout


def test_reenqueue_where_every_recipient_is_in_a_job_is_refused(program: Program, sms: World) -> None:
    """A person's request does not send twice either."""
    sms.app.add_campaign("waiting", pending=3)
    sms.queue.add("waiting", "shop_north", sms.app.pending_ids("waiting"))
    result = program.confirmed("reenqueue", "waiting", "--reason", "hurry")
    assert result.exit_code == 3
    assert "3 pending: 3 in 1 live job" in one_line(result.stderr)
    assert len(sms.queue.live_job_ids()) == 1


def test_release_releases_a_leaked_reservation(program: Program, sms: World) -> None:
    over = sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign=over, amount=12)
    result = program.made("release", "leak", "--reason", "TICKET-1")
    assert sms.app.reservation("leak")["status"] == "released"
    assert (result["target"], result["changed"], len(result["repair_ids"])) == ("leak", True, 1)


def test_release_of_credits_that_a_sending_campaign_needs_is_refused(program: Program, sms: World) -> None:
    campaign = sms.app.add_campaign("sending", pending=3)
    sms.app.add_reservation("hold", campaign=campaign, amount=12)
    result = program.confirmed("release", "hold", "--reason", "hurry")
    assert result.exit_code == 3
    assert one_line(result.stderr) == "error: reservation hold: 12 credits stay held: its campaign is sending"
    assert sms.app.reservation("hold")["status"] == "active"


@pytest.mark.parametrize(
    ("words", "would"),
    [
        (("mark-complete", "done"), "would complete campaign done"),
        (("reenqueue", "lost"), "would re-enqueue 3 recipients in 1 job"),
        (("release", "leak"), "would release 12 credits"),
    ],
)
def test_a_dry_run_needs_no_reason_and_changes_nothing(
    program: Program, sms: World, words: tuple[str, str], would: str
) -> None:
    sms.app.add_campaign("done", succeeded=5)
    sms.app.add_campaign("lost", pending=3)
    over = sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign=over, amount=12)
    before = sms.app.fingerprint()
    result = program(*words, "--dry-run")
    assert result.exit_code == 0, result.output
    assert would in result.stdout
    assert "(dry run: nothing was changed)" in result.stdout
    assert sms.app.fingerprint() == before
    assert sms.queue.live_job_ids() == []
    assert sms.rows("SELECT 1 FROM campaign_ops.repair") == []


@pytest.mark.parametrize("reason", [(), ("--reason", "  ")])
def test_without_a_reason_nothing_is_done(program: Program, sms: World, reason: tuple[str, ...]) -> None:
    sms.app.add_campaign("done", succeeded=5)
    result = program("mark-complete", "done", *reason)
    assert result.exit_code == 2
    assert "--reason: say why" in result.stderr
    assert sms.app.campaign("done")["status"] == "sending"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("mark-complete", "absent"), "campaign absent: there is no such campaign"),
        (("reenqueue", "absent"), "campaign absent: there is no such campaign"),
        (("release", "absent"), "reservation absent: there is no such reservation"),
        (("retry-quarantined", "absent"), "campaign absent: there is no such campaign"),
        (("undo", "4711"), "repair 4711: there is no such repair"),
        (("reenqueue", "a" * 50_000 + "b" * 50_000), f"campaign {'a' * 141}…{'b' * 150}: there is no such campaign"),
    ],
    ids=lambda case: case[0] if isinstance(case, tuple) else "",
)
def test_an_unknown_id_is_refused_in_one_line(program: Program, words: tuple[str, str], what: str) -> None:
    result = program(*words, "--reason", "x")
    assert result.exit_code == 3
    assert one_line(result.stderr).startswith(f"error: {what}")


def test_another_tenants_campaign_is_reported_as_unknown(program: Program, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5, tenant="shop_north")
    result = program.confirmed("mark-complete", "done", "--reason", "x", "--tenant", "shop_south")
    assert result.exit_code == 3
    assert "there is no such campaign of tenant shop_south" in one_line(result.stderr)
    assert sms.app.campaign("done")["status"] == "sending"
    assert program.confirmed("mark-complete", "done", "--reason", "x", "--tenant", "shop_north").exit_code == 0


@pytest.mark.parametrize("wrong", ["abc", "1.5", "99999999999999999999", "1; DROP TABLE x", "-1"])
def test_where_ids_are_integers_other_text_matches_no_campaign(worlds: Worlds, tmp_path: Path, wrong: str) -> None:
    world = worlds.make("sms", shape=PlatformShape(ids="integer"))
    result = configured(tmp_path, world)("mark-complete", "--reason", "x", "--", wrong)
    assert result.exit_code == 3, result.output
    assert "there is no such campaign" in one_line(result.stderr)


def test_an_integer_id_is_accepted_as_it_is_printed(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", shape=PlatformShape(ids="integer"))
    campaign = world.app.add_campaign("done", succeeded=2)
    assert campaign.isdigit()
    assert configured(tmp_path, world).confirmed("mark-complete", campaign, "--reason", "x").exit_code == 0
    assert world.app.campaign("done")["status"] == "sent"


def test_an_invalid_repair_number_is_a_command_line_error(program: Program) -> None:
    for wrong in ("abc", "0", str(2**63)):
        result = program.confirmed("undo", wrong, "--reason", "x")
        assert result.exit_code == 2
        assert "REPAIR" in result.stderr


def test_undo_removes_jobs_and_sweeps_leave_the_campaign_alone_until_retry_quarantined(
    program: Program, sms: World
) -> None:
    sms.app.add_campaign("lost", pending=3)
    repair = program.made("reenqueue", "lost", "--reason", "TICKET-1")["repair_ids"][0]
    undone = program.confirmed("undo", repair, "--reason", "TICKET-2")
    assert undone.exit_code == 0, undone.output
    assert sms.queue.live_job_ids() == []
    assert "removed 1 of 1 jobs of campaign lost" in undone.stdout
    assert program("reconcile").exit_code == 5
    assert sms.queue.live_job_ids() == []
    let_go = program.confirmed("retry-quarantined", "lost", "--reason", "TICKET-3")
    assert let_go.exit_code == 0, let_go.output
    program("reconcile")
    assert sms.queue.live_job_ids() == []  # lifting a hold does not end the cooldown
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.attempt SET last_at = last_at - interval '1 hour'"))
    program("reconcile")
    assert len(sms.queue.live_job_ids()) == 1


def test_a_repair_can_be_undone_once_only(program: Program, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=1)
    repair = program.made("mark-complete", "done", "--reason", "x")["repair_ids"][0]
    assert program.confirmed("undo", repair, "--reason", "x").exit_code == 0
    again = program.confirmed("undo", repair, "--reason", "x")
    assert again.exit_code == 3
    assert "undone already" in one_line(again.stderr)


def test_undo_after_the_row_has_changed_is_refused(program: Program, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=1)
    repair = program.made("mark-complete", "done", "--reason", "x")["repair_ids"][0]
    sms.app.set_campaign("done", status="cancelled")
    for words in (("--dry-run",), ("--reason", "x")):
        result = program("undo", repair, *words)
        assert result.exit_code == 3
        assert "no longer as the repair left it" in one_line(result.stderr)
    assert sms.app.campaign("done")["status"] == "cancelled"


def test_retry_of_a_campaign_that_nothing_holds_is_refused(program: Program, sms: World) -> None:
    sms.app.add_campaign("lost", pending=1)
    result = program.confirmed("retry-quarantined", "lost", "--reason", "x")
    assert result.exit_code == 3
    assert "neither quarantined nor held" in one_line(result.stderr)


def test_with_several_platforms_a_fix_requires_the_platform(worlds: Worlds, tmp_path: Path) -> None:
    first, second = worlds.make("sms"), worlds.make("sms")
    program = configured(tmp_path, entry(first, "first"), entry(second, "second"))
    for world in (first, second):
        world.app.add_campaign("same", succeeded=1)
    unclear = program.confirmed("mark-complete", "same", "--reason", "x")
    assert unclear.exit_code == 2
    assert one_line(unclear.stderr) == (
        "error: --platform: several platforms are configured; name one of first, second"
    )
    assert program.confirmed("mark-complete", "same", "--reason", "x", "--platform", "second").exit_code == 0
    assert (first.app.campaign("same")["status"], second.app.campaign("same")["status"]) == ("sending", "sent")


def test_a_refusal_as_json_has_the_numbers_too(program: Program, sms: World) -> None:
    sms.app.add_campaign("open", pending=2)
    document = program.json("mark-complete", "open", "--reason", "x")
    assert document["exit_code"] == 3
    (outcome,) = document["platforms"]
    assert outcome["result"] is None
    assert outcome["error"]["kind"] == "Refused"
    assert outcome["error"]["what"] == "2 of 2 recipients still pending"


def test_a_database_that_is_away_fails_without_a_traceback(tmp_path: Path) -> None:
    result = configured(tmp_path, AWAY)("mark-complete", "any", "--reason", "x")
    assert result.exit_code == 1
    assert lines_with(result.stderr, "error: 127.0.0.1:1/nothing: ")
    assert "Traceback" not in result.output


def test_a_fix_without_its_code_is_a_dry_run_that_shows_the_code(program: Program, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    tried = program("mark-complete", "done", "--reason", "TICKET-1")
    assert tried.exit_code == 5, "a script must not take it for done"
    would, undoing, _, command = tried.stdout.splitlines()
    assert would.startswith("sms: would complete campaign done")
    assert undoing.startswith("it can be undone: ")
    assert sms.app.campaign("done")["status"] == "sending"
    assert run(*shlex.split(command)[1:]).exit_code == 0
    assert sms.app.campaign("done")["status"] == "sent"
    again = run(*shlex.split(command)[1:])
    assert again.exit_code == 3


@pytest.mark.parametrize("code", ["yes", "done", "aaaa-bbbb-cccc"])
def test_a_code_that_was_never_shown_is_refused(program: Program, sms: World, code: str) -> None:
    sms.app.add_campaign("done", succeeded=5)
    result = program("mark-complete", "done", "--reason", "x", "--confirm", code)
    assert result.exit_code == 3
    assert f"code '{code}' was never shown" in one_line(result.stderr)
    assert sms.app.campaign("done")["status"] == "sending"
