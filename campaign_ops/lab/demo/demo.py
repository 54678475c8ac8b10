"""``campaign-ops demo``: builds stuck platforms, runs Dagster's reconcile job once on each, and prints the result."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from rich.console import Console

from campaign_ops.core.report import HealthReport, headline
from campaign_ops.core.wording import plural
from campaign_ops.definitions import build_definitions
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo import dagster_home, printout
from campaign_ops.lab.demo.attempt_history import make_attempt_history
from campaign_ops.lab.demo.platforms import DemoPlatform, write_config
from campaign_ops.lab.demo.stuck_platforms import build_messenger, build_sms_platforms
from campaign_ops.lab.servers.directories import fresh_work_dir
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.processes import orderly_end
from campaign_ops.orchestration.endings import refusals_of
from campaign_ops.settings import Settings, connect, load_settings
from campaign_ops.sweep import dry_run

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_demo(profile: str, wanted_dir: Path, console: Console, *, keep: bool) -> int:
    """Build the platforms, reconcile each with Dagster, print the result and what to try on it.

    With ``keep``, servers and workers go on until Ctrl-C or SIGTERM. Returns 0 if every run succeeded, else 1.
    """
    began = time.monotonic()
    quiet = logging.getLogger("campaign_ops")  # the unreachable Redis is intended
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    with fresh_work_dir(wanted_dir) as work_dir:
        failed = _sweep_all(profile, work_dir, console, began, keep=keep)
        printout.print_progress(console, began, "all processes are stopped")
    return 1 if failed else 0


def _sweep_all(profile: str, work_dir: Path, console: Console, began: float, *, keep: bool) -> list[str]:
    """Build and sweep the platforms, and say what comes next. Returns the names of those whose run failed."""
    platforms: list[DemoPlatform] = []
    with EmbeddedServers(work_dir / "servers") as servers:
        printout.print_progress(console, began, "PostgreSQL and Redis are running on loopback")
        try:
            platforms += build_sms_platforms(servers) if profile == "sms" else [build_messenger(servers)]
            config = write_config(work_dir / "campaign_ops.yaml", platforms)
            dagster_home.prepare(servers, work_dir / "dagster_home", config)
            settings = load_settings(config)
            _migrate(platforms, settings)
            printout.print_progress(
                console, began, f"{printout.count_rows(platforms)} built, in {plural(len(platforms), 'database')}"
            )
            failed = _reconcile_all(platforms, settings, work_dir, console, began)
            stop = threading.Event()
            with orderly_end(stop):
                printout.print_next_steps(console, work_dir / "reports", profile)
                printout.print_commands(console, config, settings.platforms[0], keep=keep)
                if keep:
                    stop.wait()
            return failed
        finally:
            for platform in platforms:
                platform.stop_workers()


def _migrate(platforms: Sequence[DemoPlatform], settings: Settings) -> None:
    for demo in platforms:
        platform = connect(settings.platform(demo.name))
        migrate(platform.database)
        make_attempt_history(demo, platform)
        platform.close()


def _reconcile_all(
    platforms: Sequence[DemoPlatform], settings: Settings, work_dir: Path, console: Console, began: float
) -> list[str]:
    definitions = build_definitions(settings)
    reports = work_dir / "reports"
    reports.mkdir()
    failed: list[str] = []
    with dg.DagsterInstance.get() as instance:
        printout.print_progress(console, began, "Dagster is running, with its storage in PostgreSQL")
        for demo in platforms:
            platform = connect(settings.platform(demo.name))
            before = printout.counts_of(demo)
            planned = dry_run(platform)
            run_ok = _reconcile(definitions, instance, demo.name)
            markdown = printout.stored_report(platform)
            (reports / f"{demo.name}.md").write_text(markdown, encoding="utf-8")
            printout.print_progress(console, began, f"{demo.name}: {headline(planned)}")
            _tell(console, demo, planned, printout.outcomes(platform), before)
            platform.close()
            if not run_ok:
                failed.append(demo.name)
    return failed


def _reconcile(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> bool:
    job = definitions.resolve_job_def(f"{name}__reconcile")
    result = job.execute_in_process(instance=instance, run_config=_QUIET, raise_on_error=False)
    return result.success and not refusals_of(result)


def _tell(
    console: Console,
    demo: DemoPlatform,
    planned: HealthReport,
    outcomes: printout.Outcomes,
    before: printout.PlatformCounts,
) -> None:
    printout.print_campaigns(console, planned, outcomes)
    printout.print_credits(console, planned, outcomes)
    printout.print_counts(console, before, printout.counts_of(demo))
