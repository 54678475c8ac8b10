"""``serve``: the HTTP API and the operator's console."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from campaign_ops.core.errors import CampaignOpsError, ConfigurationError
from campaign_ops.core.tokens import Scope
from campaign_ops.core.wording import nearest
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import operator
from campaign_ops.faces.http.app import create_app
from campaign_ops.faces.http.gate import Access, Proxy
from campaign_ops.faces.http.server import server_config
from campaign_ops.faces.http.service import Service
from campaign_ops.faces.logs import LogFormat, LogFormatOption, log_to_stderr
from campaign_ops.settings import load_settings, read_watch_environment
from campaign_ops.watch.dagster import Dagster

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

PORT = 8484
log = logging.getLogger(__name__)


@app.command("serve")
def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="PATH", help="Configuration file, as for every other command."),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=1, max=65535, help="The port.")] = PORT,
    no_login: Annotated[
        bool,
        typer.Option(
            "--no-login",
            help="Ask for no token: everything is done in the name of the system's user. On loopback only.",
        ),
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="NETWORK",
            help="Address or network of a proxy that authenticates people. May be given several times.",
        ),
    ] = None,
    proxy_header: Annotated[
        str | None,
        typer.Option(
            "--proxy-header",
            metavar="NAME",
            help="The header in which it names the person; default: X-Forwarded-User.",
        ),
    ] = None,
    proxy_scopes: Annotated[
        str | None,
        typer.Option(
            "--proxy-scopes", metavar="SCOPES", help="What the people who come through it may do; default: read."
        ),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Serve the HTTP API and the operator's console, until SIGTERM.

    Works while Dagster is down; with CAMPAIGN_OPS_DAGSTER_WEBSERVER a sweep that is asked for becomes a run there.
    People and programs need a token (`campaign-ops token create`), or come through a proxy that authenticates them.
    Speaks plain HTTP: beyond loopback put a proxy with TLS before it. On SIGTERM answers what it has begun, lets
    running sweeps end, and exits.
    """
    log_to_stderr(log_format)
    proxy = _proxy(trusted_proxy or [], proxy_header, proxy_scopes)
    if no_login and not _is_loopback(host):
        what = "asks for no token, and may therefore listen on loopback only"
        raise ConfigurationError(what, where="--no-login", mend="leave out --host, or --no-login")
    dagster = read_watch_environment().dagster_webserver
    access = Access(open_as=operator() if no_login else None, proxy=proxy)
    service = Service(load_settings(config), access, Dagster(dagster) if dagster is not None else None)
    server = uvicorn.Server(server_config(create_app(service), host, port))
    sockets = _listening(host, port)
    named = f"[{host}]" if ":" in host else host
    log.info("serving %s at http://%s:%s%s", ", ".join(service.settings.names), named, port, _hint(access))
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends in order, then raises the signal again: an orderly end exits with 0.
        signal.signal(number, lambda *_: None)
    server.run(sockets)
    if not server.started:
        raise typer.Exit(ExitCode.FAILED)  # uvicorn has said why


def _listening(host: str, port: int) -> list[socket.socket]:
    """The sockets of an address, bound before it is announced."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
        return [socket.create_server(address, family=family) for family, address in addresses]
    except OSError as error:
        why, _, _ = str(error.strerror).partition(" (")  # Python adds the address
        what, mend = f"cannot listen there: {why}", "stop what does, or give another --host or --port"
        raise CampaignOpsError(what, where=f"{host}:{port}", mend=mend) from None


def _hint(access: Access) -> str:
    return ", without login" if access.open_as is not None else "; `campaign-ops token create` makes a token"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy(networks: list[str], header: str | None, scopes: str | None) -> Proxy | None:
    if not networks:
        for option, value in (("--proxy-header", header), ("--proxy-scopes", scopes)):
            if value is not None:
                mend = "name the proxy's address or network"
                raise ConfigurationError("means nothing without --trusted-proxy", where=option, mend=mend)
        return None
    try:
        trusted = tuple(ipaddress.ip_network(network) for network in networks)
    except ValueError as error:
        mend = "write 10.0.0.7 or 10.0.0.0/24"
        raise ConfigurationError(str(error), where="--trusted-proxy", mend=mend) from None
    words = [word.strip() for word in (Scope.READ if scopes is None else scopes).split(",") if word.strip()]
    for word in words:
        if word not in list(Scope):
            raise ConfigurationError(f"no scope {word!r}", where="--proxy-scopes", mend=nearest(word, list(Scope)))
    if not words:
        mend = f"name one or more of {', '.join(Scope)}"
        raise ConfigurationError("lets nobody do anything", where="--proxy-scopes", mend=mend)
    return Proxy(trusted, header or "X-Forwarded-User", frozenset(map(Scope, words)))
