"""`history` and `report`: the journal of repairs, and the report of the last sweep."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.lab.shop.schema import PlatformShape
from tests.conftest import World, Worlds
from tests.faces.cli.program import Program, configured, confirmed, entry, lines_with, one_line, run


def repairs(program: Program, *words: object) -> list[tuple[str, str]]:
    return [(repair["kind"], repair["target"]) for repair in program.only("history", *words)["repairs"]]


def test_the_journal_is_shown_the_newest_first_with_reason_and_person(program: Program, sms: World) -> None:
    sms.app.add_campaign("first", succeeded=3)
    program("reconcile")
    sms.app.add_campaign("second", succeeded=3)
    program.confirmed("mark-complete", "second", "--reason", "TICKET-2", "--by", "ada")
    assert repairs(program) == [("complete", "second"), ("complete", "first")]
    result = program("history")
    assert result.exit_code == 0
    assert lines_with(result.stdout, "complete", "second", "ada", "TICKET-2")
    assert lines_with(result.stdout, "complete", "first", "nothing pending: 3 succeeded")
    assert "sms: 2 repairs" in result.stdout
    evidence = "nothing pending: 3 succeeded, 0 failed of 3"
    reasons = [(repair["person_reason"], repair["reason"]) for repair in program.only("history")["repairs"]]
    assert reasons == [("TICKET-2", evidence), (None, evidence)]


def test_a_re_enqueue_says_how_many_jobs_it_really_added(program: Program, sms: World) -> None:
    sms.app.add_campaign("lost", pending=600)
    program("reconcile")
    assert lines_with(program("history").stdout, "reenqueue (2 jobs, 600 recipients)", "lost")
    (repair,) = program.only("history")["repairs"]
    assert (repair["jobs_added"], repair["recipients_added"]) == (2, 600)


def test_each_filter_keeps_only_what_it_names(program: Program, sms: World) -> None:
    campaign = sms.app.add_campaign("north", succeeded=1, tenant="shop_north")
    sms.app.add_reservation("hold", campaign=campaign, amount=3)
    sms.app.add_campaign("south", succeeded=1, tenant="shop_south")
    program("reconcile")
    assert repairs(program, "--campaign", "north") == [("release", "hold"), ("complete", "north")]
    assert repairs(program, "--tenant", "shop_south") == [("complete", "south")]
    assert repairs(program, "--kind", "release") == [("release", "hold")]
    assert repairs(program, "--since", "1h", "--tenant", "shop_north", "--kind", "complete") == [("complete", "north")]
    assert program.only("history", "--kind", "release")["repairs"][0]["amount"] == "3"


def test_a_campaign_is_found_in_any_spelling_of_its_id(worlds: Worlds, tmp_path: Path) -> None:
    """`history --campaign` of a UUID in capitals showed nothing, where `undo` and `mark-complete` take it."""
    world = worlds.make("sms", shape=PlatformShape(ids="uuid"))
    campaign = world.app.add_campaign("done", succeeded=1)
    program = configured(tmp_path, world)
    program("reconcile")
    assert repairs(program, "--campaign", campaign.upper()) == [("complete", campaign)]
    assert world.app.remove_campaigns(untouched_for=hours(-1)) == [campaign]
    assert repairs(program, "--campaign", campaign.upper()) == [("complete", campaign)]
    assert repairs(program, "--campaign", "no such id") == []
    with world.platform.database.transaction() as connection:
        connection.execute(sa.text('ALTER TABLE "Campaign" RENAME TO "Elsewhere"'))
    assert repairs(program, "--campaign", campaign) == [("complete", campaign)]


def test_a_tenant_is_found_in_any_spelling_of_its_id(program: Program, sms: World) -> None:
    """`history --tenant 007` showed nothing, and each fix said that there is no such campaign."""
    for label in ("first", "second"):
        sms.app.add_campaign(label, succeeded=1, tenant="shop_7")
    with sms.app.engine.begin() as connection:
        for table in ("Campaign", "CreditReservation"):
            change = f'ALTER TABLE "{table}" ALTER "shopId" TYPE int USING right("shopId", 1)::int'
            connection.execute(sa.text(change))
    person = ("--reason", "x", "--tenant", "007")
    assert program.confirmed("mark-complete", "first", *person).exit_code == 0
    (repair,) = program.only("history", "--tenant", " 07")["repairs"]
    assert (repair["target"], repair["tenant"]) == ("first", "7")
    assert program.confirmed("undo", repair["id"], *person).exit_code == 0
    assert program.confirmed("mark-complete", "second", "--reason", "x", "--tenant", "8").exit_code == 3
    created = program.only("token create", "--name", "n", "--scope", "read", "--tenant", "007", "--tenant", "9")
    assert created["token"]["tenants"] == ["7", "9"]
    assert created["unknown_tenants"] == ["9"]


def test_since_counts_back_by_the_databases_clock(program: Program, sms: World) -> None:
    sms.app.add_campaign("old", succeeded=1)
    program("reconcile")
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.repair SET at = at - interval '25 hours'"))
    assert repairs(program, "--since", "24h") == []
    assert repairs(program, "--since", "26h") == [("complete", "old")]
    assert repairs(program, "--since", "2d") == [("complete", "old")]
    assert repairs(program, "--since", "2020-01-31T08:00Z") == [("complete", "old")]
    assert repairs(program, "--since", "2020-01-31T08:00+02:00") == [("complete", "old")]


@pytest.mark.parametrize("wrong", ["yesterday", "24", "2026-01-31T08:00", "2026-01-31", "-1h", "", "1y"])
def test_an_invalid_time_or_one_without_a_zone_is_refused(program: Program, wrong: str) -> None:
    result = program("history", "--since", wrong)
    assert result.exit_code == 2
    assert "--since: takes" in result.stderr


def test_a_cut_list_says_that_there_is_more(program: Program, sms: World) -> None:
    for number in range(3):
        sms.app.add_campaign(f"done_{number}", succeeded=1)
    program("reconcile")
    result = program.only("history", "--limit", 2)
    assert (len(result["repairs"]), result["more"]) == (2, True)
    assert "and more: raise --limit" in program("history", "--limit", 2).stdout
    assert program.only("history", "--limit", 3)["more"] is False
    assert program("history", "--limit", 0).exit_code == 2
    assert program("history", "--kind", "nonsense").exit_code == 2


def test_the_command_in_the_journal_undoes_the_repair_and_then_says_so(program: Program, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=1)
    program("reconcile")
    (repair,) = program.only("history")["repairs"]
    assert confirmed(run(*shlex.split(repair["undo"])[1:])).exit_code == 0
    assert sms.app.campaign("done")["status"] == "sending"
    undo, undone = program.only("history")["repairs"]
    assert (undo["kind"], undo["undo"], undone["undone_by"], undone["undo"]) == ("undo", None, undo["id"], None)
    assert lines_with(program("history").stdout, "complete", f"undone by {undo['id']}")


def test_a_lifted_hold_is_shown_with_the_command_that_puts_it_back(program: Program, sms: World) -> None:
    """The history kept a list of its own, and a lift and a take-as-sent were shown as final."""
    sms.app.add_campaign("lost", pending=2)
    program("reconcile")
    program.confirmed("undo", 1, "--reason", "x")
    program.confirmed("retry-quarantined", "lost", "--reason", "TICKET-3")
    lift = program.only("history")["repairs"][0]
    assert lift["kind"] == "lift"
    assert confirmed(run(*shlex.split(lift["undo"])[1:])).exit_code == 0


def test_another_platforms_repairs_in_the_same_database_are_not_shown(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms")
    world.app.add_campaign("done", succeeded=1)
    with world.app.engine.begin() as connection:
        for table in ("Campaign", "CampaignRecipient", "CreditReservation"):
            connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS b; CREATE TABLE b."{table}" AS TABLE "{table}"'))
    second = entry(world, "second", profile={"extends": "sms", "schema": "b"})
    program = configured(tmp_path, entry(world, "first"), second)
    program("reconcile", "--platform", "first")
    assert len(program.only("history", "--platform", "first")["repairs"]) == 1
    assert program("history", "--platform", "second").stdout == "second: 0 repairs\n"


def test_the_report_is_the_one_that_the_last_sweep_stored(program: Program, sms: World) -> None:
    sms.app.add_campaign("first", succeeded=3)
    program("reconcile")
    sms.app.add_campaign("second", pending=3)
    report = program("report")
    assert report.exit_code == 0
    assert report.stdout.startswith("# sms: 1 stuck of 1 sending, nothing needs a person\n")
    assert "## Queue sms-send" in report.stdout
    assert "second" not in report.stdout
    result = program.only("report")
    assert result["markdown"] == report.stdout
    assert result["figures"]["completed"] == 1


def test_without_any_sweep_there_is_no_report(program: Program) -> None:
    result = program("report")
    assert result.exit_code == 3
    assert one_line(result.stderr) == ("error: sms: no sweep has stored a report yet; run `campaign-ops reconcile`")


@pytest.mark.parametrize("command", ["history", "report"])
def test_before_migrate_there_is_no_journal(worlds: Worlds, tmp_path: Path, command: str) -> None:
    result = configured(tmp_path, worlds.make("sms", migrated=False))(command)
    assert result.exit_code == 2
    assert "campaign-ops migrate" in one_line(result.stderr)
