"""docs/tutorial.md as it stands: its tables, its draft, its plan and its repairs, on real servers."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import redis
import sqlalchemy as sa
import yaml
from bullmq import Queue

from campaign_ops.lab.servers.embedded import EmbeddedServers
from tests.faces.cli.program import PROGRAM, environ

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """The page's only block of a kind."""
    (text,) = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return dedent(text)


@pytest.mark.slow
def test_the_tutorial_leads_from_nothing_to_the_first_repair(servers: EmbeddedServers, tmp_path: Path) -> None:
    servers.postgres.drop_database("shop")
    url = sa.make_url(servers.postgres.create_database("shop")).set(drivername="postgresql")
    database = url.render_as_string(hide_password=False)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(block("sql"))
        with redis.Redis.from_url(servers.redis.url()) as client:
            client.flushall()
        asyncio.run(enqueue(servers.redis.url()))
        variables = {"DATABASE_URL": database, "REDIS_URL": servers.redis.url(), "COLUMNS": "400"}

        def run(*words: str, within: Path = tmp_path / "shop") -> str:
            done = subprocess.run(
                [*PROGRAM, *words], cwd=within, env=environ(variables), capture_output=True, text=True, check=False
            )
            assert done.returncode in (0, 5), done.stderr
            return done.stdout

        run("init", "shop", within=tmp_path)
        (drafted,) = yaml.safe_load((tmp_path / "shop" / "campaign_ops.yaml").read_text())["platforms"]
        assert drafted["profile"] == yaml.safe_load(block("yaml"))
        assert "error" not in run("doctor")
        planned = " ".join(run("plan").split())
        for line in re.findall(r"^(?:complete|re-enqueue) .*$", PAGE, re.MULTILINE):
            assert " ".join(line.split()) in planned
        assert "Flash sale" not in planned
        run("migrate")
        run("reconcile")
        assert status(connection, "Spring sale") == "sent"
        assert status(connection, "Newsletter") == "sending"
        with redis.Redis.from_url(servers.redis.url()) as client:
            assert int(str(client.llen("bull:messages:wait"))) == 2 + 2
        assert "undo 1" in run("history")


async def enqueue(url: str) -> None:
    """What the application of the example has done: two batches of Flash sale are waiting."""
    queue = Queue("messages", {"connection": url})
    for first in (81, 101):
        job: dict[str, Any] = {"campaignId": 3, "accountId": 1, "recipientIds": [*range(first, first + 20)]}
        await queue.add("sendBatch", job, {"attempts": 3})
    await queue.close()


def status(connection: psycopg.Connection[Any], name: str) -> str:
    (word,) = connection.execute("SELECT status FROM marketing.campaigns WHERE name = %s", [name]).fetchone() or ("",)
    return str(word)
