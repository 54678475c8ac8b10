"""The real service on a free port, tokens from the real tables, and clients that speak HTTP to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from campaign_ops.access import create_token
from campaign_ops.core.tokens import Scope, hash_of, new_token
from campaign_ops.faces.http.app import create_app
from campaign_ops.faces.http.gate import Access
from campaign_ops.faces.http.server import server_config
from campaign_ops.faces.http.service import Service
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.settings import load_settings
from campaign_ops.watch.dagster import Dagster
from tests.conftest import World
from tests.faces.cli.program import configured


@dataclass
class Api:
    """A running service and its platforms."""

    url: str
    service: Service
    worlds: tuple[World, ...]
    clients: list[httpx.Client] = field(default_factory=list)

    def token(
        self,
        *scopes: Scope,
        name: str = "ann",
        tenants: frozenset[str] | None = None,
        expires: timedelta | None = None,
        on: tuple[World, ...] | None = None,
    ) -> str:
        """The text of a new token on all platforms, or on some; with every scope if none is named."""
        token_id, secret, text = new_token()
        for world in self.worlds if on is None else on:
            create_token(
                world.platform,
                token_id,
                hash_of(secret),
                name=name,
                scopes=scopes or tuple(Scope),
                tenants=tenants,
                expires=expires,
                by="tests",
            )
        return text

    def client(self, token: str | None = None, **headers: str) -> httpx.Client:
        """A client, with a token if given."""
        sent = headers | ({"Authorization": f"Bearer {token}"} if token is not None else {})
        client = httpx.Client(base_url=self.url, headers=sent, timeout=30)
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()


Serve = Callable[..., Api]
LOGIN = Access()


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """Run a service in a thread, until the block ends."""
    port = free_port()
    server = uvicorn.Server(server_config(create_app(service), "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the service for some platforms."""
    started: list[tuple[Any, Api]] = []

    def _serve(*worlds: Any, access: Access = LOGIN, dagster: str | None = None) -> Api:
        settings = load_settings(configured(tmp_path, *worlds).config)
        service = Service(settings, access, Dagster(dagster) if dagster is not None else None)
        running = serving(service)
        real = tuple(world for world in worlds if isinstance(world, World))
        api = Api(running.__enter__(), service, real)
        started.append((running, api))
        return api

    yield _serve
    for running, api in started:
        api.close()
        running.__exit__(None, None, None)


@pytest.fixture
def api(serve: Serve, sms: World) -> Api:
    """The service of the SMS platform."""
    return serve(sms)


@pytest.fixture
def client(api: Api) -> httpx.Client:
    """A client with a token that may do everything."""
    return api.client(api.token())
