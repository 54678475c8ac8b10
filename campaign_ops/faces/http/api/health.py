"""Probes and monitoring: ``/api/health``, ``/api/ready``, ``/metrics``; and the platforms that a token reaches."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from campaign_ops import __version__
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.common import TheAsker, TheService, problems
from campaign_ops.faces.http.etags import tagged_json
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import Service, asker_of, service_of

router = APIRouter(tags=["Look"])


@router.get("/api/health", response_model=shapes.Health)
def health(service: TheService) -> shapes.Health:
    """The service is alive; with the status of every platform and the age of its last sweep. Needs no token."""
    return {"status": "alive", "version": __version__, "platforms": service.health.lines()}


@router.get(
    "/api/ready",
    response_model=shapes.Readiness,
    responses={503: {"model": shapes.Readiness, "description": "A database is away, or a sweep is stale."}},
)
def ready(request: Request) -> JSONResponse:
    """Whether every platform's database answers and was swept within three ticks; 503 if not.

    Needs no token; with one that may read, says which platform it is.
    """
    service = service_of(request)
    lines = service.health.lines()
    is_ready = all(line["status"] == "ok" for line in lines)
    document: shapes.Readiness = {"ready": is_ready, "platforms": lines if _may_read(service, request) else None}
    return JSONResponse(document, 200 if is_ready else 503)


def _may_read(service: Service, request: Request) -> bool:
    try:
        return bool(service.gate.allowed(asker_of(request), Scope.READ))
    except Problem:
        return False


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=problems() | {200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
def metrics(service: TheService, asker: TheAsker) -> Response:
    """The metrics of all platforms, for Prometheus; docs/metrics.md has the list. Scope ``metrics`` on any platform."""
    may = service.gate.allowed(asker, Scope.METRICS)
    if any(token.tenants is not None for token in may.values()):
        raise Problem(403, "forbidden", "metrics are of all tenants, the token of some", "use another token")
    _, away = service.gate.reach(asker)
    return Response(service.exposition(frozenset(may), frozenset(away)), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/platforms", response_model=shapes.Platforms, responses=problems())
def platforms(request: Request, service: TheService, asker: TheAsker) -> Response:
    """The platforms that the token reaches, and what it may do there."""
    pulses, entries = service.health.pulses(), []
    for name, token in service.gate.everywhere(asker):
        known = pulses[name]
        settings = service.settings.find(name)
        entry: shapes.KnownPlatform = {
            **service.health.line(name, known),
            "profile": settings.profile.name if settings is not None else None,
            "has_queue": settings is not None and settings.profile.queue is not None,
            "schedule": settings.schedule if settings is not None else None,
            "scopes": sorted(scope.value for scope in token.scopes),
            "tenants": None if token.tenants is None else sorted(token.tenants),
            "error": known.error,
        }
        entries.append(entry)
    document: shapes.Platforms = {"platforms": entries}
    return tagged_json(request, document)
