"""`migrate`, `doctor` and `config`: the commands of the first day."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.journal.migrations import HEAD, current
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, BROKEN, Program, configured, entry, lines_with, one_line, run

SECRETS = {
    "name": "shop",
    "profile": "sms",
    "database_url": "postgresql://app:hunter2@db.example:5432/app?sslmode=require&sslpassword=hunter3",
    "queue_url": "rediss://worker:hunter4@queue.example:6380/2",
    "thresholds": {"max_attempts": 7},
}


def revision(world: World) -> str | None:
    return world.platform.database.run(current)


def as_role(world: World, role: str) -> str:
    """The world's database, as this role sees it."""
    return sa.make_url(world.url).set(username=role).render_as_string(hide_password=False)


def test_migrate_creates_the_schema_and_reports_both_revisions(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", migrated=False)
    program = configured(tmp_path, world)
    assert program.only("migrate") == {
        "before": None,
        "after": HEAD,
        "changed": True,
        "grants": None,
        "redis_acl": None,
    }
    assert revision(world) == HEAD
    again = program("migrate")
    assert again.exit_code == 0
    assert again.stdout == f"sms: schema campaign_ops is already at revision {HEAD}\n"


def test_the_first_migrate_reports_that_it_created_the_schema(worlds: Worlds, tmp_path: Path) -> None:
    program = configured(tmp_path, worlds.make("messenger", migrated=False))
    assert program("migrate").stdout == f"messenger: schema campaign_ops created, at revision {HEAD}\n"


def test_an_empty_role_name_is_refused_before_anything_is_created(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", migrated=False)
    result = configured(tmp_path, world)("migrate", "--grants", "")
    assert result.exit_code == 2
    assert revision(world) is None


def test_an_argument_that_is_not_utf_8_is_a_command_line_error(sms: World, tmp_path: Path) -> None:
    result = configured(tmp_path, sms)("mark-complete", "caf\udce9", "--reason", "because")
    assert result.exit_code == 2
    assert "is not UTF-8 text" in one_line(result.stderr)


def test_a_role_without_the_right_to_create_a_schema_gets_a_permission_error(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", migrated=False)
    with world.app.engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE cli_reader LOGIN"))
    try:
        result = configured(tmp_path, entry(world, database_url=as_role(world, "cli_reader")))("migrate")
        assert result.exit_code == 2
        assert "permission denied" in one_line(result.stderr)
        assert revision(world) is None
    finally:
        with world.app.engine.begin() as connection:
            connection.execute(sa.text("DROP ROLE cli_reader"))


def test_the_sql_of_grants_makes_a_role_that_can_sweep(worlds: Worlds, tmp_path: Path) -> None:
    """The output is SQL only, because it is piped into psql."""
    world = worlds.make("sms", migrated=False)
    world.app.add_campaign("finished", succeeded=1)
    printed = configured(tmp_path, world)("migrate", "--grants", "cli_sweeper")
    assert printed.exit_code == 0
    for user in ("cli_sweeper", "cli_sweeper_reader"):
        assert lines_with(
            printed.stdout, f"-- redis-cli ACL SETUSER {user} reset on >PASSWORD ~{world.queue.prefix}:sms"
        )
    try:
        psql = world.app.engine.raw_connection()
        psql.cursor().execute(printed.stdout)
        psql.commit()
        psql.close()
        sweeping = configured(tmp_path, entry(world, database_url=as_role(world, "cli_sweeper")))("reconcile")
        assert sweeping.exit_code == 0, sweeping.output
        assert world.app.campaign("finished")["status"] == "sent"
    finally:
        with world.app.engine.begin() as connection:
            connection.execute(sa.text("DROP OWNED BY cli_sweeper"))
            connection.execute(sa.text("DROP ROLE cli_sweeper"))


def test_grants_are_for_one_platform(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", migrated=False)
    result = configured(tmp_path, entry(world, "first"), entry(world, "second"))("migrate", "--grants", "anybody")
    assert result.exit_code == 2
    assert "--grants" in result.stderr
    assert revision(world) is None


def test_the_exit_code_of_the_doctor_follows_from_its_level(program: Program) -> None:
    document = program.json("doctor")
    result = document["platforms"][0]["result"]
    grave = {"ok": 0, "note": 0, "warning": 5, "error": 1}
    assert document["exit_code"] == grave[result["level"]]
    assert {finding["check"] for finding in result["findings"]} >= {"database", "queue"}


def test_the_doctor_shows_how_to_mend_a_warning_and_exits_with_5(worlds: Worlds, tmp_path: Path) -> None:
    program = configured(tmp_path, worlds.make("sms", migrated=False))
    result = program("doctor")
    assert result.exit_code == 5, "it is examined before `migrate`, so that is no fault yet"
    assert lines_with(result.stdout, "warning", "journal")
    assert lines_with(result.stdout, "mend: ", "campaign-ops migrate")


def test_the_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    program = configured(tmp_path, SECRETS)
    shown = program("config")
    assert shown.exit_code == 0
    for text in (shown.output, program("config", "--json").output, program("config", "--debug").output):
        assert "hunter" not in text
    assert lines_with(shown.stdout, "database_url", "postgresql://app:***@db.example:5432/app?")
    assert lines_with(shown.stdout, "queue_url", "rediss://***@queue.example:6380/2")
    assert lines_with(shown.stdout, "max_attempts", "7")
    assert lines_with(shown.stdout, "stuck_after_seconds", "900")


def test_the_configuration_as_json_has_every_threshold(tmp_path: Path) -> None:
    result = configured(tmp_path, SECRETS).only("config")
    assert result["thresholds"]["max_attempts"] == 7
    assert result["thresholds"]["empty_campaigns"] == "report"
    assert result["queue_name"] == "sms-send"


def test_every_mistake_of_a_platform_takes_one_line(sms: World, tmp_path: Path) -> None:
    result = configured(tmp_path, BROKEN)("config")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) >= 2
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["config", "status", "history"])
def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path: Path, command: str) -> None:
    missing = run(command, "--config", tmp_path / "nowhere.yaml")
    assert missing.exit_code == 2
    assert "no such file" in one_line(missing.stderr)
    (tmp_path / "odd.yaml").write_text("platforms: {password: hunter2")
    odd = run(command, "--config", tmp_path / "odd.yaml")
    assert odd.exit_code == 2
    assert "not YAML" in one_line(odd.stderr)
    assert "hunter2" not in odd.output


def test_a_configuration_that_cannot_be_read_is_json_too(tmp_path: Path) -> None:
    document = Program(tmp_path / "nowhere.yaml").json("status")
    assert document["exit_code"] == 2
    assert document["error"]["kind"] == "ConfigurationError"
    assert document["platforms"] == []


def test_an_unknown_platform_is_answered_with_the_nearest(sms: World, tmp_path: Path) -> None:
    program = configured(tmp_path, AWAY | {"name": "shop_one"}, entry(sms, "shop_two"))
    result = program("status", "--platform", "shop_tow")
    assert result.exit_code == 2
    assert one_line(result.stderr) == (
        "error: --platform: no platform 'shop_tow' is configured; did you mean shop_two?"
    )
    assert program("status", "--platform", "shop_two").exit_code == 0
