"""``campaign-ops up``: platforms with traffic and faults, Dagster, which repairs them, a console, until Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from campaign_ops.core.errors import CampaignOpsError, ConfigurationError
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo import dagster_home
from campaign_ops.lab.demo.platforms import DemoPlatform, create_platform, write_config
from campaign_ops.lab.demo.printout import command_line, print_progress
from campaign_ops.lab.demo.simulation import Simulation, SimulationOptions
from campaign_ops.lab.servers.directories import fresh_work_dir
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess, orderly_end
from campaign_ops.platform import Platform
from campaign_ops.settings import Settings, connect, load_settings

_FAST = {"stuck_after_seconds": 60, "alert_after_seconds": 300, "cooldown_seconds": 60}
_EVERY_MINUTE = "* * * * *"
_WEB_SECONDS = 90


def up(wanted_dir: Path, port: int | None, console: Console) -> int:
    """Start everything, run until Ctrl-C (or SIGTERM), stop everything in order. Returns the exit code."""
    began = time.monotonic()
    logging.getLogger("campaign_ops").setLevel(logging.ERROR)
    stop = threading.Event()
    with ExitStack() as running, orderly_end(stop):
        work_dir = running.enter_context(fresh_work_dir(wanted_dir))
        servers = running.enter_context(EmbeddedServers(work_dir / "servers"))
        print_progress(console, began, "PostgreSQL and Redis are running on loopback")
        platforms = [create_platform(servers, name, name) for name in ("sms", "messenger")]
        config = _write_config(work_dir / "campaign_ops.yaml", platforms)
        environment = dagster_home.prepare(servers, work_dir / "dagster_home", config)
        settings = load_settings(config)
        _migrate(settings)
        dagster, console_address = running.enter_context(_processes(work_dir, environment, config, port, stop))
        if not stop.is_set():
            print_progress(console, began, f"Dagster is at {dagster}, schedule and sensors on; Ctrl-C stops everything")
            _print_places(console, dagster, console_address, config)
            watcher = threading.Thread(target=_watch_journal, args=(settings, began, console, stop), daemon=True)
            watcher.start()
            shop, messenger = platforms
            say = lambda line: print_progress(console, began, line)  # noqa: E731
            Simulation(shop, messenger, work_dir / "workers", SimulationOptions(), say).run(stop)
            watcher.join(10)
        print_progress(console, began, "stopping: workers, Dagster, Redis, PostgreSQL")
    print_progress(console, began, "all processes are stopped")
    return 0


def _print_places(console: Console, dagster: str, operators: str, config: Path) -> None:
    """Print where to look."""
    places = {
        "console": operators,
        "assets": f"{dagster}/asset-groups",
        "runs": f"{dagster}/runs",
        "health page": f"{dagster}/assets/sms/campaign_health",
        "command line": command_line("status", "sms", config),
    }
    for name, place in places.items():
        console.print(f"         {name + ':':14}{escape(place)}", soft_wrap=True)


def _write_config(path: Path, platforms: Sequence[DemoPlatform]) -> Path:
    for platform in platforms:
        platform.thresholds = dict(_FAST)
        platform.schedule = _EVERY_MINUTE
    return write_config(path, platforms)


def _migrate(settings: Settings) -> None:
    for one in settings.platforms:
        platform = connect(one)
        migrate(platform.database)
        platform.close()


@contextmanager
def _processes(
    work_dir: Path, environment: Mapping[str, str], config: Path, port: int | None, stop: threading.Event
) -> Iterator[tuple[str, str]]:
    """Run Dagster's webserver and daemon, the console and the watcher; yields the two addresses once both answer."""
    scripts, home = Path(sys.executable).parent, Path(environment["DAGSTER_HOME"])
    workspace = ["-w", str(home / "workspace.yaml")]
    port, own_port = port or free_port(), free_port()
    dagster, operators = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{own_port}"
    ours, read = scripts / "campaign-ops", ["--config", str(config)]
    commands: dict[str, list[str | Path]] = {
        "dagster-webserver": [scripts / "dagster-webserver", "-h", "127.0.0.1", "-p", str(port), *workspace],
        "dagster-daemon": [scripts / "dagster-daemon", "run", *workspace],
        "serve": [ours, "serve", "--no-login", "--port", str(own_port), *read],
        "watch": [ours, "watch", "--every", "20", *read],
    }
    known = {**environment, "CAMPAIGN_OPS_DAGSTER_WEBSERVER": dagster, "CAMPAIGN_OPS_CONSOLE_URL": operators}
    children = [
        ChildProcess(name, command, log_path=work_dir / f"{name}.log", environment=known, stop_signal=signal.SIGINT)
        for name, command in commands.items()
    ]
    try:
        for child in children:
            child.start()
        _await_web(f"{dagster}/server_info", children, stop)
        _await_web(f"{operators}/api/health", children, stop)
        yield dagster, operators
    finally:
        for child in reversed(children):
            child.stop(20)


def _await_web(url: str, children: Sequence[ChildProcess], stop: threading.Event) -> None:
    deadline = time.monotonic() + _WEB_SECONDS
    while not stop.wait(0.3):
        for child in children:
            if not child.running:
                raise ConfigurationError(f"{child.name} exited during start-up", mend=f"read {child.log_path}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{url} did not answer within {_WEB_SECONDS} s",
                    mend=f"read {children[0].log_path.parent}/*.log",
                ) from None


def _watch_journal(settings: Settings, began: float, console: Console, stop: threading.Event) -> None:
    """Print every new repair in the journal."""
    journals = [_JournalReader(connect(platform)) for platform in settings.platforms]
    while not stop.wait(1):
        for journal in journals:
            try:
                lines = journal.new_lines()
            except CampaignOpsError as error:
                lines = [str(error)]
            for line in lines:
                text = escape(f"{journal.platform.name}: {line}")
                console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  [green]{text}[/green]", soft_wrap=True)
    for journal in journals:
        journal.platform.close()


@dataclass
class _JournalReader:
    """One platform's journal, and the last repair that was printed."""

    platform: Platform
    last_id: int = 0

    def new_lines(self) -> list[str]:
        """The repairs since the last call, one line each."""
        journal = self.platform.journal
        rows = self.platform.database.run(lambda connection: journal.repairs(connection, limit=50), read_only=True)
        new = [row for row in reversed(rows) if int(row["id"]) > self.last_id]
        self.last_id = max((int(row["id"]) for row in new), default=self.last_id)
        return [f"{row['kind']} {row['target']}: {row['reason']}" for row in new]
