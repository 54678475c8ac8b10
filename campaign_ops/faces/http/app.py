"""The service put together: its routes, its errors, its protection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from campaign_ops import __version__
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.http.api import campaigns, fixes, health, incidents, records, sweeps
from campaign_ops.faces.http.api.common import only_known_parameters
from campaign_ops.faces.http.console import campaigns as campaign_pages
from campaign_ops.faces.http.console import credits as credit_pages
from campaign_ops.faces.http.console import fix, journal, login, now, plan, platforms, queue, tokens
from campaign_ops.faces.http.console import incidents as incident_pages
from campaign_ops.faces.http.console.pages import page_for_strangers, page_of_problem
from campaign_ops.faces.http.problems import Problem, problem_of
from campaign_ops.faces.http.protection import Protection
from campaign_ops.faces.http.service import Service
from campaign_ops.settings import Settings

STATIC = Path(__file__).parent / "console" / "static"
API = (campaigns.router, fixes.router, records.router, incidents.router, sweeps.router)
PAGES = (
    login.router,
    now.router,
    campaign_pages.router,
    fix.router,
    plan.router,
    journal.router,
    queue.router,
    credit_pages.router,
    incident_pages.router,
    platforms.router,
    tokens.router,
)

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
    app.include_router(health.router)  # a probe may add what it likes to the address
    for router in API:
        app.include_router(router, dependencies=[Depends(only_known_parameters)])
    for router in PAGES:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    for error in (Problem, CampaignOpsError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, _answer)
    app.add_middleware(Protection, answer=_refusal, gate=service.gate, loopback_only=service.access.open_as is not None)
    _describe_security(app)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """An error as a page for people, as a problem document for programs."""
    problem = problem_of(error)
    return await to_thread.run_sync(page_of_problem, request, problem) if _is_page(request) else problem.answer()


def _refusal(request: Request, problem: Problem) -> Response:
    """A refusal before any database is asked who sent the request."""
    return page_for_strangers(request, problem) if _is_page(request) else problem.answer()


def _is_page(request: Request) -> bool:
    return not request.scope["path"].startswith("/api") and "text/html" in request.headers.get("accept", "")


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
