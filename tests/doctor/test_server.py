"""Servers that are away, refuse, stand by, or stop answering in the middle: findings, never exceptions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

import campaign_ops.doctor.examine
from campaign_ops.core.policy import Policy
from campaign_ops.demo.servers import EmbeddedPostgres
from campaign_ops.demo.tables import PlatformWriter
from campaign_ops.doctor import Finding, Level, examine
from campaign_ops.doctor.server import timeouts, version
from campaign_ops.platform.database import Database, Timeouts
from campaign_ops.platform.inspection import Server
from campaign_ops.platform.migrations import migrate
from campaign_ops.platform.platform import Platform
from campaign_ops.platform.profile_file import load_profile
from tests.conftest import World
from tests.doctor.bench import complaints, connect_as, least, of, owner, pooler, the


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that asks for passwords, lets one user in from nowhere, and has a standby's settings."""
    directory = tmp_path_factory.mktemp("strict")
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    rules = directory / "pg_hba.conf"
    rules.write_text(
        "local all postgres trust\nlocal all shut_out reject\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    )
    rules.chmod(0o644)
    settings = {"hba_file": str(rules), "wal_level": "replica"}
    with EmbeddedPostgres(directory / "server", port=0, settings=settings, keep=False) as server:
        engine = sa.create_engine(server.url())
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE ROLE ops LOGIN PASSWORD 'right-secret'"))
            connection.execute(sa.text("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0"))
            connection.execute(sa.text("CREATE ROLE group_only"))
            connection.execute(sa.text("CREATE DATABASE closed"))
            connection.execute(sa.text("REVOKE ALL ON DATABASE closed FROM PUBLIC")) if False else None
        engine.dispose()
        yield server


def messenger_at(url: sa.URL) -> Platform:
    """A platform that sends in process, so that all findings are the database's."""
    database = Database(url.render_as_string(hide_password=False), Timeouts(connect_seconds=2))
    return Platform("messenger", load_profile("messenger"), Policy(), database, None)
