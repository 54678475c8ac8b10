"""Servers of other versions than the wheels carry: those that the environment names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.programs import POSTGRES, REDIS, postgres_installation, redis_program


def test_the_servers_that_the_environment_names_are_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    other_redis = shutil.which("redis-server")
    if not others or other_redis is None:
        pytest.skip("Debian's postgresql and redis-server are not installed; `.ci/run` installs them")
    monkeypatch.setenv(POSTGRES, str(others[0].parents[1]))
    monkeypatch.setenv(REDIS, other_redis)
    with EmbeddedServers(tmp_path) as servers:
        with psycopg.connect(servers.postgres.url().replace("+psycopg", "")) as connection:
            assert connection.info.server_version // 10_000 == int(others[0].parents[1].name)
        with redis.Redis.from_url(servers.redis.url()) as client:
            assert int(client.info("server")["redis_version"].split(".")[0]) >= 7


@pytest.mark.parametrize(
    ("variable", "what"), [(POSTGRES, postgres_installation), (REDIS, redis_program)], ids=["postgres", "redis"]
)
def test_a_program_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, what: Callable[[], Path]
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"^{variable}: {tmp_path}.* is no program; correct the variable"):
        what()
