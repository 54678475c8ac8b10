"""`make demo`: stuck platforms, one Dagster run over each, and what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from rich.console import Console

from campaign_ops.core.report import HealthReport, headline
from campaign_ops.core.wording import plural
from campaign_ops.definitions import build_definitions
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo import dagster_home, story
from campaign_ops.lab.demo.history import make_history
from campaign_ops.lab.demo.platforms import DemoPlatform, write_config
from campaign_ops.lab.demo.scenario import build_messenger, build_sms
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.processes import fresh_work_dir
from campaign_ops.settings import Settings, connect, load_settings
from campaign_ops.sweep import dry_run

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run(profile: str, wanted_dir: Path, console: Console) -> int:
    """Build the platforms, reconcile each through Dagster, tell the story; 0 when every run succeeded."""
    began = time.monotonic()
    quiet = logging.getLogger("campaign_ops")  # a Redis that is away is part of the story
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    with fresh_work_dir(wanted_dir) as work_dir:
        failed = _run(profile, work_dir, console, began)
        story.progress(console, began, "everything that was started is stopped")
        story.next_steps(console, work_dir / "reports", profile)
    return 1 if failed else 0


def _run(profile: str, work_dir: Path, console: Console, began: float) -> list[str]:
    """The names of the platforms whose run failed."""
    platforms: list[DemoPlatform] = []
    with EmbeddedServers(work_dir / "servers") as servers:
        story.progress(console, began, "PostgreSQL and Redis are up, on loopback")
        try:
            platforms += build_sms(servers) if profile == "sms" else [build_messenger(servers)]
            config = write_config(work_dir / "campaign_ops.yaml", platforms)
            dagster_home.prepare(servers, work_dir / "dagster_home", config)
            settings = load_settings(config)
            _migrate(platforms, settings)
            story.progress(
                console, began, f"{story.count_rows(platforms)} built, in {plural(len(platforms), 'database')}"
            )
            return _reconcile_all(platforms, settings, work_dir, console, began)
        finally:
            for platform in platforms:
                platform.stop_workers()


def _migrate(platforms: Sequence[DemoPlatform], settings: Settings) -> None:
    for demo in platforms:
        platform = connect(settings.platform(demo.name))
        migrate(platform.database)
        make_history(demo, platform)
        platform.close()


def _reconcile_all(
    platforms: Sequence[DemoPlatform], settings: Settings, work_dir: Path, console: Console, began: float
) -> list[str]:
    definitions = build_definitions(settings)
    reports = work_dir / "reports"
    reports.mkdir()
    failed: list[str] = []
    with dg.DagsterInstance.get() as instance:
        story.progress(console, began, "Dagster is up, its runs and events stored in PostgreSQL")
        for demo in platforms:
            platform = connect(settings.platform(demo.name))
            before = story.stock_of(demo)
            planned = dry_run(platform)
            run_ok = _reconcile(definitions, instance, demo.name)
            markdown = story.stored_report(platform)
            (reports / f"{demo.name}.md").write_text(markdown, encoding="utf-8")
            story.progress(console, began, f"{demo.name}: {headline(planned)}")
            _tell(console, demo, planned, story.outcomes(platform), before)
            platform.close()
            if not run_ok:
                failed.append(demo.name)
    return failed


def _reconcile(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> bool:
    job = definitions.resolve_job_def(f"{name}__reconcile")
    return job.execute_in_process(instance=instance, run_config=_QUIET, raise_on_error=False).success


def _tell(
    console: Console, demo: DemoPlatform, planned: HealthReport, outcomes: story.Outcomes, before: story.Stock
) -> None:
    story.tell_campaigns(console, planned, outcomes)
    story.tell_credits(console, planned, outcomes)
    story.tell_stock(console, before, story.stock_of(demo))
