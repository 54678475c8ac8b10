"""The service put together: its routes, its errors, its protection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from campaign_ops import __version__
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.http import problems
from campaign_ops.faces.http.api import campaigns, health, records, sweeps
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.protection import Protection
from campaign_ops.faces.http.service import Service
from campaign_ops.settings import Settings

_DESCRIPTION = """Finds, explains and repairs campaigns that are stuck in sending. docs/http.md has the tour.

Every change takes a reason. For real it needs the code that its dry run answers. Times are ISO 8601 in UTC, durations
seconds, amounts of credits decimal strings."""


def create_app(service: Service) -> FastAPI:
    """Make the application of a service; it is closed with it."""

    @asynccontextmanager
    async def _life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(service.close)

    app = FastAPI(
        title="campaign_ops",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=_life,
        separate_input_output_schemas=False,
    )
    app.state.service = service
    for router in (health.router, campaigns.router, records.router, sweeps.router):
        app.include_router(router)
    for error in (Problem, CampaignOpsError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, problems.answer)
    app.add_middleware(Protection, loopback_only=service.access.open_as is not None)
    _describe_security(app)
    return app


def _describe_security(app: FastAPI) -> None:
    """Say in OpenAPI how requests are authenticated, and what errors look like."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        components = document.setdefault("components", {})
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "`campaign-ops token create` makes one."}
        }
        for path, methods in document["paths"].items():
            for method in methods.values():
                if path not in ("/api/health", "/api/ready"):
                    method["security"] = [{"token": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def openapi_document() -> dict[str, Any]:
    """What /api/openapi.json answers, whatever is configured."""
    return create_app(Service(Settings(Path(), ()))).openapi()
