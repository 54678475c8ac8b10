"""The module that Dagster loads: the definitions of all configured platforms. Connects to nothing.

For a project with definitions of its own there is `campaign_ops.orchestration.definitions`.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from campaign_ops.orchestration import definitions
from campaign_ops.orchestration.jobs import IN_ONE_PROCESS
from campaign_ops.orchestration.names import MAX_RUNTIME
from campaign_ops.orchestration.resources import Connect, no_hand_over
from campaign_ops.settings import Settings


def build_definitions(
    settings: Settings | None = None, connect: Connect | None = None, *, max_runtime: timedelta = MAX_RUNTIME
) -> dg.Definitions:
    """A whole code location, in which names need no prefix; the arguments are those of ``definitions``."""
    return dg.Definitions.merge(
        definitions(settings, prefix="", connect=connect, max_runtime=max_runtime),
        # For runs without a job of ours, such as those of the "Materialize" button.
        dg.Definitions(resources={"io_manager": no_hand_over}, executor=IN_ONE_PROCESS),
    )


defs = build_definitions()
