"""The module that Dagster loads: the definitions of all configured platforms. Connects to nothing.

For a project with definitions of its own there is `campaign_ops.orchestration.definitions`.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from campaign_ops.orchestration.factory import Deployment
from campaign_ops.orchestration.names import MAX_RUNTIME
from campaign_ops.orchestration.repository import code_location, repository
from campaign_ops.orchestration.resources import Connect
from campaign_ops.settings import Settings


def build_definitions(
    settings: Settings | None = None, connect: Connect | None = None, *, max_runtime: timedelta = MAX_RUNTIME
) -> dg.Definitions:
    """The same definitions, all made at once; the arguments are those of `campaign_ops.orchestration.definitions`."""
    return code_location(*Deployment(settings, "", connect, max_runtime).parts())


defs = repository(Deployment())
