"""`incidents`, `acknowledge`, `silence`, `resolve` and `notify`: what a person sees and does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.incidents import Symptom
from campaign_ops.faces.cli.commands import COMMANDS
from campaign_ops.watch.channels import Notify
from tests.conftest import World
from tests.faces.cli.program import Program, entry, lines_with, one_line
from tests.watch.looking import events, open_one
from tests.watch.receivers import SECRET, Received, free_port, webhook

STUCK = Symptom(Cause.STUCK, count=3, campaigns=("c1", "c2", "c3"), tenants=("north",), detail="c1: lost")


@pytest.fixture
def hook() -> Iterator[Received]:
    with webhook() as received:
        yield received


def with_channels(world: World, directory: Path, *channels: dict[str, Any]) -> Program:
    """The program with this platform and these channels."""
    path = directory / "campaign_ops.yaml"
    path.write_text(yaml.safe_dump({"platforms": [entry(world)], "notify": {"channels": list(channels)}}))
    return Program(path)


# -- incidents ------------------------------------------------------------------------------------------------------


def test_what_needs_a_person_is_shown_with_its_next_step(program: Program, sms: World) -> None:
    never = program("incidents").stdout
    assert never.startswith("sms: 0 incidents, 0 open; no watcher has looked yet: is `campaign-ops watch`")
    assert program.only("incidents")["last_look_at"] is None
    number = open_one(sms, STUCK)
    shown = program("incidents")
    assert shown.exit_code == 5
    assert lines_with(shown.stdout, f"{number}  warning: campaigns are stuck for too long (3 campaigns)")
    assert lines_with(shown.stdout, "Campaigns", "c1, c2, c3")
    assert lines_with(shown.stdout, "Next step", "campaign-ops status --platform sms")
    (row,) = program.only("incidents")["incidents"]
    assert (row["cause"], row["state"], row["count"], row["tenants"]) == ("stuck", "open", 3, ["north"])
    assert "is `campaign-ops watch`" not in shown.stdout
    sms.rows("UPDATE campaign_ops.watcher_look SET looked_at = now() - interval '25 minutes' RETURNING tables")
    assert lines_with(program("incidents").stdout, "the last look of a watcher is 25 min old: is `campaign-ops watch`")


def test_every_command_that_a_next_step_names_exists() -> None:
    for fixed in CAUSES.values():
        for words in fixed.next_step.split("campaign-ops ")[1:]:
            assert words.split()[0] in COMMANDS, words
    assert "take-as-sent" in COMMANDS


def test_an_acknowledged_incident_does_not_ask_for_a_person(program: Program, sms: World) -> None:
    number = open_one(sms, STUCK)
    done = program("acknowledge", number, "--reason", "TICKET-12", "--by", "ann")
    assert done.stdout == f"sms: incident {number} (campaigns are stuck for too long (3 campaigns)) is acknowledged\n"
    assert events(sms)[-1] == ("acknowledged", "ann", "TICKET-12")
    shown = program("incidents")
    assert shown.exit_code == 0
    assert lines_with(shown.stdout, "State", "acknowledged; ann: TICKET-12")


def test_a_silence_takes_a_span_or_a_moment(program: Program, sms: World) -> None:
    number = open_one(sms, STUCK)
    before = datetime.now(UTC)
    result = program.only("silence", number, "--until", "4h", "--reason", "deployment")
    assert result["state"] == "silenced"
    until = datetime.fromisoformat(result["silenced_until"])
    assert timedelta(hours=3, minutes=59) < until - before < timedelta(hours=4, minutes=1)
    moment = program.only("silence", number, "--until", "2999-01-31T08:00Z", "--reason", "known")
    assert moment["silenced_until"] == "2999-01-31T08:00:00+00:00"
    assert "silenced until 2999-01-31 08:00" in program("incidents").stdout


def test_an_open_incident_is_shown_before_newer_ones_that_are_over(program: Program, sms: World) -> None:
    """With `--all` and a hundred newer ones, `0 open` was shown, and the exit code was 0."""
    number = open_one(sms, STUCK)
    newer = open_one(sms, Symptom(Cause.BREAKER, count=1))
    program.only("resolve", newer, "--reason", "mended")
    result = program.json("incidents", "--all", "--limit", "1")
    assert [row["id"] for row in result["platforms"][0]["result"]["incidents"]] == [number]
    assert result["exit_code"] == 5


@pytest.mark.parametrize("until", ["4 hours", "2999-01-31T08:00", "", "9999-12-31T23:59-23:00"])
def test_a_time_that_is_none_is_a_mistake_of_the_command_line(program: Program, sms: World, until: str) -> None:
    number = open_one(sms, STUCK)
    result = program("silence", number, "--until", until, "--reason", "why")
    assert result.exit_code == 2
    assert "--until" in result.stderr


def test_a_resolved_incident_is_shown_with_all_only(program: Program, sms: World) -> None:
    number = open_one(sms, STUCK)
    assert program.only("resolve", number, "--reason", "mended")["state"] == "resolved"
    assert program.only("incidents")["incidents"] == []
    (row,) = program.only("incidents", "--all")["incidents"]
    assert row["state"] == "resolved"
    assert row["resolved_at"] is not None


@pytest.mark.parametrize("words", [["acknowledge"], ["silence", "--until", "1h"], ["resolve"]])
def test_without_a_reason_nothing_is_changed(program: Program, sms: World, words: list[str]) -> None:
    number = open_one(sms, STUCK)
    command, *more = words
    result = program(command, number, *more)
    assert result.exit_code == 2
    assert "--reason" in result.stderr
    assert [what for what, _, _ in events(sms)] == ["opened"]


def test_an_incident_that_is_not_there_is_refused(program: Program, sms: World) -> None:
    result = program("acknowledge", 99, "--reason", "why")
    assert result.exit_code == 3
    assert "no such incident" in one_line(result.stderr)
    beyond = program("acknowledge", 2**63, "--reason", "why")
    assert beyond.exit_code == 2, "the database was asked, and its complaint about bigint was the answer"
    assert "INCIDENT" in beyond.stderr


# -- notifications --------------------------------------------------------------------------------------------------


def test_a_test_message_says_of_each_channel_whether_it_was_accepted(
    sms: World, hook: Received, tmp_path: Path
) -> None:
    away = {"name": "away", "url": f"json://127.0.0.1:{free_port()}/{SECRET}"}
    program = with_channels(sms, tmp_path, {"name": "hook", "url": hook.url}, away)
    result = program("notify", "--test")
    assert result.exit_code == 1
    assert lines_with(result.stdout, "hook", "accepted")
    assert lines_with(result.stdout, "away", "could not be reached")
    assert hook.subjects == ["[test] sms: a test of channel hook"]
    alone = program("notify", "--test", "--channel", "hook")
    assert alone.exit_code == 0
    assert lines_with(alone.stdout, "1 test message sent")
    assert SECRET not in result.output + alone.output


@pytest.mark.parametrize("section", [None, {"channels": []}, "of another platform"])
def test_a_test_without_a_channel_is_one_line_that_says_where_to_add_one(
    sms: World, tmp_path: Path, section: Any
) -> None:
    """It answered "0 test messages sent" and 0, which reads as a success."""
    elsewhere = [{"name": "hook", "url": f"json://127.0.0.1:{free_port()}/{SECRET}", "platforms": ["other"]}]
    notify = {"channels": elsewhere} if section == "of another platform" else section
    other = {**entry(sms), "name": "other", "profile": "messenger"}
    other.pop("queue_url")
    path = tmp_path / "campaign_ops.yaml"
    path.write_text(yaml.safe_dump({"platforms": [entry(sms), other], "notify": notify}))
    result = Program(path)("notify", "--test", "--platform", "sms")
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "campaign_ops.yaml" in line
    assert "notify.channels: no channel is configured for sms; add one, such as" in line
    assert Program(path)("notify", "--platform", "sms").exit_code == 0  # without --test nothing is asked for


def test_what_is_due_is_sent_once(sms: World, hook: Received, tmp_path: Path) -> None:
    program = with_channels(sms, tmp_path, {"name": "hook", "url": hook.url})
    open_one(sms, STUCK, Notify(channels=(hook.channel("hook"),)))
    assert program.only("notify")["sent"] == 1
    assert program.only("notify")["sent"] == 0
    assert len(hook.messages) == 1


def test_an_unknown_channel_is_answered_with_the_nearest(sms: World, hook: Received, tmp_path: Path) -> None:
    program = with_channels(sms, tmp_path, {"name": "oncall", "url": hook.url})
    result = program("notify", "--test", "--channel", "oncal")
    assert result.exit_code == 2
    assert "no channel 'oncal' is configured for sms; did you mean oncall?" in one_line(result.stderr)


def test_a_mistake_in_one_channel_does_not_stop_the_others(sms: World, hook: Received, tmp_path: Path) -> None:
    """As docs/incidents.md promises. A cron job of `notify` sent nothing to anybody."""
    odd: list[dict[str, Any]] = [{"name": "odd", "url": "nope://x"}, {"name": "none"}]
    program = with_channels(sms, tmp_path, *odd, {"name": "oncall", "url": hook.url})
    open_one(sms, STUCK, Notify(channels=(hook.channel("oncall"),)))
    result = program("notify")
    assert result.exit_code == 2
    assert len(hook.messages) == 1
    assert "1 message sent" in result.stdout
    assert lines_with(result.stderr, "notify.channels[1].url: ", "is missing")
    tested = program("notify", "--test")
    assert tested.exit_code == 2
    assert len(hook.messages) == 2
    assert lines_with(tested.stdout, "oncall", "accepted")


@pytest.mark.parametrize("command", ["config", "notify"])
def test_a_mistake_in_a_channel_is_a_line_without_its_url(sms: World, tmp_path: Path, command: str) -> None:
    program = with_channels(sms, tmp_path, {"name": "odd", "url": f"nope://{SECRET}"}, {"name": "none"})
    result = program(command)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert lines_with(result.stderr, "notify.channels[0].url: ", "is not a URL that apprise understands")
    assert lines_with(result.stderr, "notify.channels[1].url: ", "is missing")
    assert SECRET not in result.output


def test_the_configuration_shows_channels_without_their_urls(sms: World, hook: Received, tmp_path: Path) -> None:
    program = with_channels(sms, tmp_path, {"name": "hook", "url": hook.url, "severity": "critical"})
    for shown in (program("config"), program("config", "--json"), program("config", "--debug")):
        assert shown.exit_code == 0
        assert "hook (from critical on)" in shown.stdout
        assert SECRET not in shown.output
    assert "['" not in program("config").stdout, "a list was shown as Python writes it"
