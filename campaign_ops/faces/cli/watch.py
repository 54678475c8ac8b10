"""``watch``: the process that looks at all platforms each minute, without Dagster."""

from __future__ import annotations

import logging
import signal
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.logs import LogFormat, LogFormatOption, log_to_stderr
from campaign_ops.platform import Platform
from campaign_ops.settings import Settings, connect, load_settings, read_watch_environment
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.dagster import Dagster
from campaign_ops.watch.sending import check
from campaign_ops.watch.watcher import Watch, Watched, Watcher

log = logging.getLogger(__name__)
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command("watch")
def watch(
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="PATH", help="Configuration file, as for every other command."),
    ] = None,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=1, help="The time from one look to the next.")
    ] = 60,
    once: Annotated[
        bool, typer.Option("--once", help="Look once and exit, for cron: with 5 when something is wrong, else 0.")
    ] = False,
    heartbeat: Annotated[
        Path | None,
        typer.Option(
            "--heartbeat",
            metavar="PATH",
            help="Touch this file at the start and after each look, for a health check.",
        ),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Look at all platforms each minute and notify people, until SIGTERM.

    Looks at the age of the last finished sweep, at database and queue, keeps what it sees of queues and workers, opens
    and resolves incidents, and sends notifications to the channels of the configuration. Repairs nothing. Needs no
    Dagster; with CAMPAIGN_OPS_DAGSTER_WEBSERVER it also notices dead daemons and failed runs. With
    CAMPAIGN_OPS_DEAD_MAN_URL it calls that address after each look in which every platform's last sweep was fresh, so
    that its own death is noticed there. Several may run at once.
    """
    log_to_stderr(log_format)
    watcher = Watcher(watch_of(load_settings(config)))
    _report_channels(watcher.watch.notify, once=once)
    if once:
        wrong = any(platform.causes or platform.error for platform in watcher.tick())
        if heartbeat is not None:
            _touch(heartbeat)
        raise typer.Exit(ExitCode.PERSON if wrong else ExitCode.DONE)
    watch_until_stopped(watcher, every, heartbeat)


def watch_until_stopped(watcher: Watcher, every_seconds: float, heartbeat: Path | None = None) -> None:
    """Tick at this pace until SIGTERM or Ctrl-C, which does not interrupt the current tick."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if heartbeat is None:
        watcher.run(stop, every_seconds)
    else:
        _touch(heartbeat)
        watcher.run(stop, every_seconds, lambda: _beat(heartbeat))


def _report_channels(notify: Notify, *, once: bool) -> None:
    """Log the mistakes in the configuration of the channels, and that there is none.

    What only apprise can see in a URL is examined once in the life of a process that stays: it takes 1.4 s to load.
    """
    for mistake in str((notify.error if once else check(notify)) or "").splitlines():
        log.warning("%s", mistake)
    if not notify.channels:
        log.warning("no channel is configured: incidents are recorded, and nobody is notified")


def _beat(heartbeat: Path) -> None:
    """A sign of life; without one the health check ends the process, which goes on watching until then."""
    try:
        _touch(heartbeat)
    except ConfigurationError as error:
        log.warning("%s", error)


def _touch(heartbeat: Path) -> None:
    try:
        heartbeat.touch()
    except OSError as error:
        what, mend = f"cannot be written: {error.strerror}", "name a file in a directory that this user may write"
        raise ConfigurationError(what, where=f"--heartbeat {heartbeat}", mend=mend) from None


def watch_of(settings: Settings) -> Watch:
    """All platforms and channels of the configuration, and the addresses in the environment."""
    environment = read_watch_environment()
    dagster = environment.dagster_webserver
    schedules = {platform.name: platform.schedule for platform in settings.platforms}
    return Watch(
        [Watched(name, partial(_connected, settings, name), schedules.get(name, "")) for name in settings.names],
        notify=settings.notify,
        dagster=Dagster(dagster) if dagster is not None else None,
        dead_man_url=environment.dead_man_url,
    )


def _connected(settings: Settings, name: str) -> Platform:
    return connect(settings.platform(name).in_a_hurry())
