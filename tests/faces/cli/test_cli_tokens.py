"""`token create`, `token list` and `token revoke`: one token for all platforms, shown once."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign_ops.access import authenticate
from campaign_ops.core.tokens import Scope, Token
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, Program, configured, lines_with

CREATE = ("token create", "--name", "deploy", "--scope", "read,repair")


def recognised(world: World, text: str) -> Token | None:
    return authenticate(world.platform, text)


def token_in(output: str) -> str:
    """The only token in what the program printed, which is a line of its own."""
    assert output.count("ops_") == 1
    (line,) = [line for line in output.splitlines() if line.startswith("ops_")]
    return line


@pytest.fixture
def two(worlds: Worlds) -> tuple[World, World]:
    return worlds.make("sms"), worlds.make("messenger")


def test_a_token_is_shown_once_and_works_on_every_platform(two: tuple[World, World], tmp_path: Path) -> None:
    program = configured(tmp_path, *two)
    two[1].app.add_campaign("c", pending=1, tenant="north")
    created = program(*CREATE, "--tenant", "north", "--tenant", "south", "--expires", "90d", "--by", "ann")
    assert created.exit_code == 0, created.output
    text = token_in(created.output)
    assert lines_with(created.stdout, "(deploy): read, repair; tenants north, south; until ", "works on sms, messenger")
    assert lines_with(created.stdout, "No campaign of tenant south is on any of these platforms: check the spelling")
    for world in two:
        token = recognised(world, text)
        assert token is not None
        assert (token.name, token.created_by) == ("deploy", "ann")
        assert token.scopes == frozenset({Scope.READ, Scope.REPAIR})
        assert token.tenants == frozenset({"north", "south"})
    listed = program("token list")
    assert len(lines_with(listed.stdout, text.split("_")[1], "deploy", "active", "ann", "read, repair")) == 2
    assert text.split("_")[2] not in listed.output + program("token list", "--json", "--debug").output


def test_with_json_the_text_is_in_one_place(two: tuple[World, World], tmp_path: Path) -> None:
    program = configured(tmp_path, *two)
    first, second = [outcome["result"] for outcome in program.json(*CREATE)["platforms"]]
    assert second["text"] is None
    assert first["token"]["id"] == second["token"]["id"]
    assert first["token"] | {"created_at": ""} == second["token"] | {"created_at": ""}
    assert (first["token"]["scopes"], first["token"]["tenants"]) == (["read", "repair"], None)
    assert recognised(two[0], first["text"]) is not None
    assert recognised(two[1], first["text"]) is not None


def test_a_token_works_where_the_database_was_there(sms: World, tmp_path: Path) -> None:
    program = configured(tmp_path, AWAY, sms)
    created = program(*CREATE)
    assert created.exit_code == 1
    assert lines_with(created.stderr, "error: away: ")
    assert lines_with(created.stdout, "works on sms")
    assert lines_with(created.stdout, "does not work on away")
    text = token_in(created.stdout)
    assert recognised(sms, text) is not None
    revoked = program("token revoke", text.split("_")[1])
    assert revoked.exit_code == 1
    assert lines_with(revoked.stderr, "error: away: ")
    assert lines_with(revoked.stdout, "sms: token", "(deploy) is revoked")
    assert recognised(sms, text) is None


def test_where_no_platform_has_stored_it_no_token_is_shown(tmp_path: Path) -> None:
    created = configured(tmp_path, AWAY)(*CREATE)
    assert created.exit_code == 1
    assert "ops_" not in created.output


def test_a_token_of_one_platform_can_be_revoked_without_naming_it(two: tuple[World, World], tmp_path: Path) -> None:
    program = configured(tmp_path, *two)
    text = token_in(program(*CREATE, "--platform", "messenger").stdout)
    assert recognised(two[0], text) is None
    revoked = program("token revoke", text.split("_")[1], "--by", "bob")
    assert revoked.exit_code == 0
    assert lines_with(revoked.stdout, "sms: no such token")
    assert recognised(two[1], text) is None
    assert lines_with(program("token list").stdout, "revoked", "by bob")


@pytest.mark.parametrize("platform", [(), ("--platform", "sms")])
def test_a_token_that_no_platform_has_is_refused(
    two: tuple[World, World], tmp_path: Path, platform: tuple[str, ...]
) -> None:
    """A typing error in an id must not look like a revoked token."""
    result = configured(tmp_path, *two)("token revoke", "0123456789", *platform)
    assert result.exit_code == 3
    assert "no such token" in result.output


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--name", " "], "--name"),
        (["--scope", "reed"], "did you mean read?"),
        (["--scope", ","], "--scope"),
        (["--tenant", ""], "--tenant"),
        (["--expires", "soon"], "--expires"),
    ],
    ids=str,
)
def test_a_mistake_on_the_command_line_creates_nothing(
    program: Program, sms: World, wrong: list[str], named: str
) -> None:
    result = program(*CREATE, *wrong)
    assert result.exit_code == 2
    assert named in result.stderr
    assert sms.rows("SELECT id FROM campaign_ops.token") == []


def test_a_token_that_would_have_ended_already_is_refused(program: Program, sms: World) -> None:
    result = program(*CREATE, "--expires", "2020-01-01T00:00Z")
    assert result.exit_code == 3
    assert "ops_" not in result.output
    assert sms.rows("SELECT id FROM campaign_ops.token") == []


def test_a_hostile_name_is_shown_and_not_run(program: Program) -> None:
    created = program("token create", "--name", "\x1b]0;pwned\x07", "--scope", "read")
    listed = program("token list")
    assert "\x1b" not in created.output + listed.output
    assert "\\x1b]0;pwned\\x07" in created.stdout
    assert "\\x1b]0;pwned\\x07" in listed.stdout
