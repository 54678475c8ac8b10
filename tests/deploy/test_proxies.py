"""The shipped rules of nginx and Caddy in the real programs: requests that never reach Dagster's webserver.

The upstream takes GraphQL as Dagster does: by GET, by JSON, and with the query in the address of any other POST.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from campaign_ops.lab.servers.ports import free_port
from tests.orchestration.harness import REPOSITORY

NAME = "dagster.example.com"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"oncall:pass").decode()}
JSON = {"Content-Type": "application/json"}
MUTATION = "/graphql?query=mutation%7BlaunchRun%7D"


@dataclass
class Upstream:
    """The server behind a proxy, and the requests that reached it."""

    port: int
    received: list[str] = field(default_factory=list)

    async def take(self, request: Request) -> PlainTextResponse:
        assert "authorization" not in request.headers
        self.received.append(f"{request.method} {request.url.path}")
        return PlainTextResponse("taken")

    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="graphql-ws")
        self.received.append("websocket")
        await websocket.send_text(await websocket.receive_text())


@dataclass(frozen=True)
class Proxy:
    """A running proxy in front of the upstream."""

    port: int
    upstream: Upstream

    @property
    def host(self) -> str:
        """The name in the browser's address bar."""
        return f"{NAME}:{self.port}"

    def status(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> int:
        """The answer's status; signed in unless the headers say otherwise."""
        sent = {"Host": self.host, **LOGIN, **(headers or {})}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, body or None, {key: value for key, value in sent.items() if value})
            return connection.getresponse().status

    def websocket(self, headers: dict[str, str]) -> ClientConnection:
        """The websocket that Dagster's page opens; signed in."""
        return connect(
            f"ws://{self.host}/graphql",
            sock=socket.create_connection(("127.0.0.1", self.port)),
            additional_headers={**LOGIN, **headers},
            subprotocols=[Subprotocol("graphql-ws")],
        )


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    port = free_port()
    running = Upstream(port)
    routes = [
        Route("/graphql", running.take, methods=["GET", "POST"]),
        WebSocketRoute("/graphql", running.talk),
        Route("/{path:path}", running.take, methods=["GET", "HEAD", "POST"]),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    _await_port(port)
    yield running
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed; `.ci/run` installs it")
    port, home = free_port(), tmp_path_factory.mktemp(request.param)
    home.chmod(0o755)
    command, environment = {"nginx": _nginx, "caddy": _caddy}[request.param](program, home, port, upstream.port)
    with (home / "output").open("w") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
        try:
            _await_port(port, process, home / "output")
            yield Proxy(port, upstream)
        finally:
            process.terminate()
            process.wait(10)


def _nginx(program: str, home: Path, port: int, upstream: int) -> tuple[list[str], dict[str, str]]:
    """The shipped file, changed to a port without TLS, our upstream and a password file."""
    rules = (REPOSITORY / "deploy" / "nginx-dagster.conf").read_text()
    rules = re.sub(r"ssl_certificate\S* .*", "", rules).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    rules = rules.replace("127.0.0.1:3000", f"127.0.0.1:{upstream}")
    rules = rules.replace("/etc/nginx/campaign_ops.htpasswd", str(home / "htpasswd"))
    (home / "htpasswd").write_text("oncall:{PLAIN}pass\n")
    (home / "rules.conf").write_text(rules)
    kept = "".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (home / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;"
        f"events {{}} http {{ access_log off; {kept} include {home}/rules.conf; }}\n"
    )
    return [program, "-p", str(home), "-e", str(home / "error.log"), "-c", str(home / "nginx.conf")], {}


def _caddy(program: str, home: Path, port: int, upstream: int) -> tuple[list[str], dict[str, str]]:
    """The shipped file, unchanged."""
    hashed = subprocess.run(
        [program, "hash-password", "--plaintext", "pass"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {
        "DAGSTER_SITE": f"http://{NAME}:{port}",
        "DAGSTER_UPSTREAM": f"127.0.0.1:{upstream}",
        "DAGSTER_PASSWORD_HASH": hashed,
        "HOME": str(home),
    }
    (home / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{(REPOSITORY / 'deploy' / 'Caddyfile').read_text()}")
    return [program, "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"], environment


def _await_port(port: int, process: subprocess.Popen[bytes] | None = None, output: Path | None = None) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            pytest.fail(f"the proxy ended: {output.read_text() if output else ''}")
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("nothing listened in time")


@pytest.mark.parametrize("path", [MUTATION, "/graphql/?query=x", "/%67raphql?query=x", "/ops/graphql?query=x"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_graphql_by_any_other_method_than_post_is_refused(proxy: Proxy, method: str, path: str) -> None:
    proxy.upstream.received.clear()
    assert proxy.status(method, path) in (403, 405)
    assert proxy.status(method, path, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}) in (403, 405)
    assert proxy.upstream.received == []


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", "application/graphql"],
)
def test_graphql_by_a_post_that_a_form_could_send_is_refused(proxy: Proxy, kind: str) -> None:
    """The webserver looks for `application/json` anywhere in the header, else takes the query from the address."""
    proxy.upstream.received.clear()
    assert proxy.status("POST", MUTATION, {"Content-Type": kind}, "{}") == 405
    assert proxy.upstream.received == []


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "https://evil.example"},
        {"Origin": f"https://{NAME}.evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/report_asset_materialization/sms/queue_state"])
def test_what_another_page_posts_is_refused(proxy: Proxy, page: dict[str, str], path: str) -> None:
    proxy.upstream.received.clear()
    assert proxy.status("POST", path, {**JSON, **page}, "{}") == 403
    assert proxy.upstream.received == []


def test_another_pages_websocket_is_refused(proxy: Proxy) -> None:
    proxy.upstream.received.clear()
    for page in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(InvalidStatus, match="403"):
            proxy.websocket(page)
    assert proxy.upstream.received == []


def test_a_name_that_is_not_ours_is_not_served(proxy: Proxy) -> None:
    """An attacker's name that points here would be an origin of its own."""
    proxy.upstream.received.clear()
    other = f"evil.example:{proxy.port}"
    proxy.status("POST", "/graphql", {**JSON, "Host": other, "Origin": f"http://{other}"}, "{}")
    assert proxy.upstream.received == []


def test_nothing_is_served_without_a_password(proxy: Proxy) -> None:
    proxy.upstream.received.clear()
    assert proxy.status("GET", "/runs", {"Authorization": ""}) == 401
    assert proxy.status("POST", "/graphql", {**JSON, "Authorization": ""}, "{}") == 401
    assert proxy.upstream.received == []


def test_dagsters_own_page_works(proxy: Proxy) -> None:
    proxy.upstream.received.clear()
    own = {"Origin": f"http://{proxy.host}", "Sec-Fetch-Site": "same-origin"}
    assert proxy.status("GET", "/runs") == 200
    assert proxy.status("GET", "/runs", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}) == 200
    assert proxy.status("POST", "/graphql", {**JSON, **own}, "{}") == 200
    assert proxy.status("POST", "/graphql", {"Content-Type": "application/json; charset=utf-8"}, "{}") == 200
    with proxy.websocket(own) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"
    assert proxy.upstream.received == ["GET /runs", "GET /runs", "POST /graphql", "POST /graphql", "websocket"]
