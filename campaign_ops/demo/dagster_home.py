"""Dagster for the demo: a home with the repository's own dagster.yaml, its storage in the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.demo.servers import EmbeddedServers

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "dagster"


def prepare(servers: EmbeddedServers, home: Path, config: Path) -> Mapping[str, str]:
    """Make the directory and the storage's database.

    Args:
        servers: Where the storage lives.
        home: Becomes DAGSTER_HOME.
        config: The configuration of campaign_ops.

    Returns:
        The environment that every Dagster process needs, set in this process too.
    """
    home.mkdir(parents=True, exist_ok=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (ROOT / name).exists():
            raise ConfigurationError(f"{name} is not beside the package", mend="run the demo from a checkout")
        shutil.copy(ROOT / name, home / name)
    servers.postgres.drop_database(DATABASE)
    servers.postgres.create_database(DATABASE)
    environment = {
        "DAGSTER_HOME": str(home),
        "CAMPAIGN_OPS_DAGSTER_URL": servers.postgres.psycopg2_url(DATABASE),
        "CAMPAIGN_OPS_CONFIG": str(config),
    }
    os.environ.update(environment)
    return environment
