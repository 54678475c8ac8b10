"""The module that Dagster loads: the definitions of all configured platforms. Connects to nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from campaign_ops import settings as configuration
from campaign_ops.core.console import Console
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration.broken import WHOLE_FILE, broken_definitions
from campaign_ops.orchestration.factory import platform_definitions
from campaign_ops.orchestration.housekeeping import housekeeping, housekeeping_schedule
from campaign_ops.orchestration.names import MAX_RUNTIME
from campaign_ops.orchestration.resources import Connect, no_hand_over
from campaign_ops.settings import Settings

log = logging.getLogger(__name__)


def build_definitions(
    settings: Settings | None = None, connect: Connect | None = None, *, max_runtime: timedelta = MAX_RUNTIME
) -> dg.Definitions:
    """Definitions of all platforms. A mistake in the configuration of one becomes a failing check; the others work.

    Args:
        settings: The configuration; default: from the file and the environment.
        connect: Makes a platform from its settings; default: the real one.
        max_runtime: The age at which a run is considered dead.
    """
    try:
        settings = settings or configuration.load_settings()
    except ConfigurationError as error:
        return broken_definitions(WHOLE_FILE, error)
    console = _console()
    return dg.Definitions.merge(
        *(
            platform_definitions(
                replace(platform, console=console), connect or configuration.connect, max_runtime=max_runtime
            )
            for platform in settings.platforms
        ),
        *(broken_definitions(broken.name, broken.error) for broken in settings.broken),
        # The steps are small: one process for each would take five times as long as the sweep.
        dg.Definitions(
            jobs=[housekeeping],
            schedules=[housekeeping_schedule],
            resources={"io_manager": no_hand_over},
            executor=dg.in_process_executor,
        ),
    )


def _console() -> Console | None:
    try:
        return configuration.read_console()
    except ConfigurationError as error:
        log.warning("reports have no links to the console: %s", error)
        return None


defs = build_definitions()
