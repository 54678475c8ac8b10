"""Dagster's home for the demo: the repository's own dagster.yaml, with storage in the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.servers.embedded import EmbeddedServers

_BESIDE = Path(__file__).resolve().parent
_PLACES = (_BESIDE, _BESIDE.parents[2])
"""Directories of the two files: in a wheel next to this module, in a checkout at the top."""
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
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(_shipped(name), home / name)
    servers.postgres.drop_database(DATABASE)
    servers.postgres.create_database(DATABASE)
    environment = {
        "DAGSTER_HOME": str(home),
        "CAMPAIGN_OPS_DAGSTER_URL": servers.postgres.psycopg2_url(DATABASE),
        "CAMPAIGN_OPS_CONFIG": str(config),
    }
    os.environ.update(environment)
    return environment


def _shipped(name: str) -> Path:
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise ConfigurationError(f"{name} is missing from the installation", mend="install campaign_ops again")
