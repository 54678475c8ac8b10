"""Dagster's home for the demo: the repository's own dagster.yaml, with storage in the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.settings.shipped import DAGSTER_FILES, shipped

DATABASE = "dagster"


def prepare(servers: EmbeddedServers, home: Path, config: Path) -> Mapping[str, str]:
    """Create the directory and the storage's database.

    Args:
        servers: The servers that hold the storage.
        home: The directory that becomes DAGSTER_HOME.
        config: The configuration file of campaign_ops.

    Returns:
        The environment variables for every Dagster process; they are also set in this process.
    """
    home.mkdir(parents=True, exist_ok=True)
    for name in DAGSTER_FILES:
        shutil.copy(shipped(name), home / name)
    servers.postgres.drop_database(DATABASE)
    servers.postgres.create_database(DATABASE)
    environment = {
        "DAGSTER_HOME": str(home),
        "CAMPAIGN_OPS_DAGSTER_URL": servers.postgres.psycopg2_url(DATABASE),
        "CAMPAIGN_OPS_CONFIG": str(config),
    }
    os.environ.update(environment)
    return environment
