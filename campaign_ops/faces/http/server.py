"""How the application is served: uvicorn's settings, the same in production and in tests."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """Return the configuration of the server.

    Args:
        app: From `campaign_ops.faces.http.app.create_app`.
        host: The address to listen at.
        port: The port.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # ours is set already
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the address that counts is the one that connects
        timeout_graceful_shutdown=60,
    )
