"""Where Dagster keeps its runs, events and schedules; dagster.yaml names `Storage`.

PostgreSQL at CAMPAIGN_OPS_DAGSTER_URL; without that variable SQLite in DAGSTER_HOME, which is enough for one machine.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from campaign_ops.settings import read_dagster_storage


class Storage(DagsterStorage, ConfigurableClass):
    """Makes the storage that the environment asks for; never instantiated itself."""

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """No configuration: the environment decides."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> DagsterStorage:
        """The storage of this process.

        Raises:
            ConfigurationError: The URL is wrong, or neither it nor DAGSTER_HOME is set.
        """
        place = read_dagster_storage()
        if isinstance(place, Path):
            _say(f"Dagster's runs are in SQLite in {place}; for PostgreSQL, export CAMPAIGN_OPS_DAGSTER_URL")
            return DagsterSqliteStorage.from_local(str(place), inst_data)
        # Dagster's event storage needs psycopg2: with psycopg 3 its NOTIFY fails, and every run with it.
        return DagsterPostgresStorage(place.get_secret_value(), inst_data=inst_data)


@cache
def _say(line: str) -> None:
    """Write a line to stderr, once per process; those that the daemon starts for code and runs keep silent."""
    if sys.argv[1:2] != ["api"]:
        sys.stderr.write(f"{line}\n")
