"""`status`: every campaign in sending, in the format of the runbook's script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from campaign_ops.core.model import Counters
from campaign_ops.faces.cli.screen import BAR_CELLS, bar
from campaign_ops.lab.shop.row_writer import hours, minutes
from tests.conftest import World
from tests.faces.cli.program import Program, configured, environ, lines_with


def test_each_campaign_is_shown_with_totals_progress_time_and_verdict(program: Program, sms: World) -> None:
    sms.app.add_campaign("abc123", name="test 6", succeeded=48, failed=2, updated_ago=minutes(16))
    result = program("status")
    assert result.exit_code == 0
    title, tenant, recipients, processed, sending, verdict, _, summary = result.stdout.splitlines()
    assert title == "test 6 (abc123)"
    assert tenant.split() == ["Tenant", "shop_north"]
    assert recipients.split(maxsplit=1) == ["Recipients", "50: 48 sent, 2 failed, 0 to go"]
    assert processed.split(maxsplit=1) == ["Processed", f"{'█' * BAR_CELLS} 50/50 (100%)"]
    assert "16 min" in sending
    assert "STUCK, finished: nothing pending: 48 succeeded, 2 failed of 50" in verdict
    assert summary == "sms: 1 in sending, 1 stuck (1 finished)"


def test_a_campaign_that_was_touched_recently_is_listed_and_not_called_stuck(program: Program, sms: World) -> None:
    sms.app.add_campaign("fresh", pending=9, succeeded=1, updated_ago=minutes(1))
    sms.app.add_campaign("lost", pending=1)
    result = program("status")
    assert result.exit_code == 0
    assert lines_with(result.stdout, "Status", "sending: touched lately")
    assert result.stdout.count("STUCK") == 1
    assert result.stdout.splitlines()[-1] == "sms: 2 in sending, 1 stuck (1 jobs_lost)"


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["status"], ["redis", "opentelemetry", "campaign_ops.sweep.sweep", "campaign_ops.fixes.table"]),
        (["reconcile", "--dry-run"], ["campaign_ops.fixes.table"]),
    ],
    ids=" ".join,
)
def test_on_a_calm_platform_only_what_is_needed_is_imported(
    program: Program, sms: World, words: list[str], unneeded: list[str]
) -> None:
    """Of the second that `status` took, most were imports."""
    sms.app.add_campaign("moving", pending=3, updated_ago=minutes(1))
    code = (
        "import sys; from typer.testing import CliRunner; from campaign_ops.faces.cli import app\n"
        f"result = CliRunner().invoke(app, {[*words, '--config', str(program.config)]!r})\n"
        "print(*sys.modules); print(result.output, file=sys.stderr); sys.exit(result.exit_code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, env=environ({})
    )
    assert ended.returncode == 0, ended.stderr
    never = {"bullmq", "alembic", "pandas", "dagster", "fastapi", "apprise", "jinja2", "prometheus_client"}
    assert not {*never, *unneeded} & set(ended.stdout.split())


def test_a_campaign_whose_recipients_move_is_not_called_stuck(program: Program, sms: World) -> None:
    sms.app.add_campaign("slow", pending=5, succeeded=5, moved_ago=minutes(2))
    result = program("status")
    assert "STUCK" not in result.stdout
    assert lines_with(result.stdout, "Status", "progressing: ", "slow, not stuck")
    assert result.stdout.splitlines()[-1] == "sms: 1 in sending, 0 stuck and 1 slow (1 progressing)"


def test_the_longest_untouched_comes_first(program: Program, sms: World) -> None:
    sms.app.add_campaign("young", pending=1, updated_ago=minutes(20))
    sms.app.add_campaign("old", pending=1, updated_ago=hours(30))
    campaigns = program.only("status")["campaigns"]
    assert [campaign["id"] for campaign in campaigns] == ["old", "young"]
    assert campaigns[0]["untouched_seconds"] >= 30 * 3600


def test_one_recipient_to_go_is_never_a_hundred_percent(program: Program, sms: World) -> None:
    sms.app.add_campaign("almost", succeeded=999, pending=1)
    result = program("status")
    assert "999/1,000 (99%)" in result.stdout
    assert "░" in result.stdout


def test_where_rows_appear_when_sent_the_total_is_the_campaigns_own(messenger: World, tmp_path: Path) -> None:
    messenger.app.add_campaign("half", succeeded=20, counters=Counters(50, 20, 0))
    (campaign,) = configured(tmp_path, messenger).only("status")["campaigns"]
    assert (campaign["total"], campaign["succeeded"], campaign["unsent"], campaign["percent"]) == (50, 20, 30, 40)


def test_a_campaign_without_recipients_has_no_percentage(program: Program, sms: World) -> None:
    sms.app.add_campaign("empty")
    (campaign,) = program.only("status")["campaigns"]
    assert (campaign["total"], campaign["percent"], campaign["verdict"]) == (0, None, "empty")
    assert lines_with(program("status").stdout, "Processed", "no recipients")


def test_nothing_in_sending_is_one_line(program: Program) -> None:
    assert program("status").stdout == "sms: 0 in sending, 0 stuck\n"


def test_several_platforms_are_shown_one_after_the_other(sms: World, messenger: World, tmp_path: Path) -> None:
    sms.app.add_campaign("lost", pending=1)
    messenger.app.add_campaign("done", succeeded=1)
    result = configured(tmp_path, sms, messenger)("status")
    assert lines_with(result.stdout, "sms: 1 in sending, 1 stuck (1 jobs_lost)")
    assert result.stdout.splitlines()[-1] == "messenger: 1 in sending, 1 stuck (1 finished)"


def test_the_bar_is_full_only_when_all_is_done_and_empty_only_when_nothing_is() -> None:
    assert bar(0, 1000) == "░" * BAR_CELLS
    assert bar(1, 1000) == "█" + "░" * (BAR_CELLS - 1)
    assert bar(999, 1000) == "█" * (BAR_CELLS - 1) + "░"
    assert bar(1000, 1000) == "█" * BAR_CELLS
    assert bar(1, 2, plain=True) == "#" * (BAR_CELLS // 2) + "." * (BAR_CELLS // 2)
