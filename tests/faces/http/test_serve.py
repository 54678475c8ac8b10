"""``campaign-ops serve`` as a process: what it says, what it refuses to start with, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from campaign_ops.lab.servers.ports import free_port
from tests.conftest import World
from tests.faces.cli.program import PROGRAM, configured, environ


@contextmanager
def process(sms: World, directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service as a process of its own, and its address."""
    port = free_port()
    words = [*PROGRAM, "serve", "--config", str(configured(directory, sms).config), "--port", str(port), *options]
    with subprocess.Popen(words, env=environ({}), stderr=subprocess.PIPE, text=True) as running:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{url}/api/health", timeout=5)
                break
            except httpx.TransportError:
                assert running.poll() is None, running.stderr.read() if running.stderr else ""
                assert time.monotonic() < deadline
                time.sleep(0.1)
        try:
            yield running, url
        finally:
            if running.poll() is None:
                running.kill()


def test_on_sigterm_a_running_sweep_ends_and_the_process_exits_with_0(sms: World, tmp_path: Path) -> None:
    for number in range(200):
        sms.app.add_campaign(f"done{number}", succeeded=3)
    with process(sms, tmp_path, "--no-login", "--log-format", "json") as (running, url):
        assert httpx.post(f"{url}/api/internal/reconciliation", json={}, timeout=30).status_code == 202
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate()
    assert running.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert "without login" in lines[0]["message"]
    (sweep,) = sms.rows("SELECT finished_at, actor, trigger FROM campaign_ops.sweep")
    assert sweep["finished_at"] is not None
    assert sweep["trigger"] == "http"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--no-login", "--host", "0.0.0.0"), "--no-login: asks for no token, and may therefore listen on loopback"),
        (("--trusted-proxy", "10.0.0.0/99"), "--trusted-proxy: "),
        (("--trusted-proxy", "10.0.0.7", "--proxy-scopes", "read,repiar"), "--proxy-scopes: no scope 'repiar'"),
        (("--trusted-proxy", "10.0.0.7", "--proxy-scopes", ""), "--proxy-scopes: lets nobody do anything"),
        (("--proxy-scopes", "read,repair"), "--proxy-scopes: means nothing without --trusted-proxy"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_served(
    sms: World, tmp_path: Path, options: Sequence[str], words: str
) -> None:
    command = [*PROGRAM, "serve", "--config", str(configured(tmp_path, sms).config), *options]
    done = subprocess.run(command, env=environ({}), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {words}"), line


def test_a_port_that_is_taken_is_one_line(sms: World, tmp_path: Path) -> None:
    """It said that it serves, then the event loop's words, and exited with 3: refused by a premise."""
    with process(sms, tmp_path, "--no-login") as (_, url):
        port = url.rpartition(":")[2]
        command = [*PROGRAM, "serve", "--config", str(configured(tmp_path, sms).config), "--port", port]
        done = subprocess.run(command, env=environ({}), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: 127.0.0.1:{port}: cannot listen there: Address already in use; ")


def test_without_a_token_the_process_shows_nothing(sms: World, tmp_path: Path) -> None:
    with process(sms, tmp_path) as (_, url):
        assert httpx.get(f"{url}/api/campaigns").status_code == 401
        page = httpx.get(f"{url}/campaigns", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2Fcampaigns")
        assert "server" not in page.headers
