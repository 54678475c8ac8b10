"""What Dagster loads: every configured platform's definitions, side by side. Nothing is connected to here."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from campaign_ops import settings as configuration
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration.broken import NOBODY, broken_definitions
from campaign_ops.orchestration.factory import platform_definitions
from campaign_ops.orchestration.housekeeping import housekeeping, housekeeping_schedule
from campaign_ops.orchestration.names import MAX_RUNTIME
from campaign_ops.orchestration.resources import Connect
from campaign_ops.settings import Settings


def build_definitions(
    settings: Settings | None = None, connect: Connect | None = None, *, max_runtime: timedelta = MAX_RUNTIME
) -> dg.Definitions:
    """Definitions of all platforms. One with a mistake in its configuration is a failing check and stops no other.

    Args:
        settings: The configuration; read from the file and the environment unless given.
        connect: Makes a platform from its settings; the real one unless given.
        max_runtime: After this a run is taken for dead.
    """
    try:
        settings = settings or configuration.load_settings()
    except ConfigurationError as error:
        return broken_definitions(NOBODY, error)
    return dg.Definitions.merge(
        *(
            platform_definitions(one, connect or configuration.connect, max_runtime=max_runtime)
            for one in settings.platforms
        ),
        *(broken_definitions(one.name, one.error) for one in settings.broken),
        # The steps are small: a process for each would take five times as long as the sweep.
        dg.Definitions(jobs=[housekeeping], schedules=[housekeeping_schedule], executor=dg.in_process_executor),
    )


defs = build_definitions()
