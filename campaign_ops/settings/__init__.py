"""The configuration: one YAML file and the environment, read once and validated whole. Nothing else reads either.

Every mistake is answered with file, line, key, what is wrong and the mend; no secret is ever shown; nothing is
connected to.
"""

from campaign_ops.postgres.database import Timeouts
from campaign_ops.settings.connect import connect
from campaign_ops.settings.describe import describe_profile, describe_settings, markdown_table
from campaign_ops.settings.environment import (
    WatchEnvironment,
    read_console,
    read_dagster_storage,
    read_platform_urls,
    read_tracing,
    read_watch_environment,
)
from campaign_ops.settings.load import load_settings
from campaign_ops.settings.model import BrokenPlatform, PlatformSettings, Settings

__all__ = [
    "BrokenPlatform",
    "PlatformSettings",
    "Settings",
    "Timeouts",
    "WatchEnvironment",
    "connect",
    "describe_profile",
    "describe_settings",
    "load_settings",
    "markdown_table",
    "read_console",
    "read_dagster_storage",
    "read_platform_urls",
    "read_tracing",
    "read_watch_environment",
]
