"""Records: the journal, workers, the stored health report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from campaign_ops.core.model import RepairKind
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.documents import repair_document, report_document, workers_document
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.campaigns import undo_path
from campaign_ops.faces.http.api.common import (
    Cursor,
    Limit,
    PlatformName,
    TheAsker,
    TheService,
    checked,
    problems,
)
from campaign_ops.faces.http.cursors import cursor_of, next_page, position_of
from campaign_ops.faces.http.etags import tagged_json
from campaign_ops.faces.http.gate import Asker
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.queries.history import repairs as read_repairs
from campaign_ops.queries.owners import own_tenant
from campaign_ops.queries.report import stored_report
from campaign_ops.queries.workers import workers as read_workers

router = APIRouter()


def _one_platform(service: Service, asker: Asker, scope: Scope, platform: str | None) -> Place:
    """The platform of a request that is about one.

    Raises:
        Problem: 400 where the token reaches several and none is named.
    """
    places = service.places(asker, scope, platform)
    if len(places) > 1:
        names = ", ".join(sorted(place.platform for place in places))
        raise Problem(400, "which_platform", f"the token reaches several platforms: {names}", "name the platform")
    return places[0]


@router.get("/api/repairs", response_model=shapes.Repairs, responses=problems(400, 404, 409), tags=["Look"])
def repairs(
    request: Request,
    service: TheService,
    asker: TheAsker,
    platform: PlatformName = None,
    campaign: Annotated[str | None, Query(description="Only of this campaign.", max_length=255)] = None,
    tenant: Annotated[str | None, Query(description="Only of this tenant.", max_length=255)] = None,
    kind: Annotated[RepairKind | None, Query(description="Only of this kind.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The journal of one platform: every repair and manual fix, the newest first."""
    place = _one_platform(service, asker, Scope.READ, platform)
    tenant = None if tenant is None else checked(tenant, "tenant")
    query = {"platform": place.platform, "campaign": campaign, "tenant": tenant, "kind": kind, "limit": limit}
    wanted = RepairFilter(None if campaign is None else checked(campaign, "campaign"), tenant, kind)
    document = list_repairs(service, place, wanted, limit=limit, cursor=cursor, path="/api/repairs", query=query)
    return tagged_json(request, document)


@dataclass(frozen=True)
class RepairFilter:
    """The repairs to list; None leaves everything in."""

    campaign: str | None = None
    tenant: str | None = None
    kind: RepairKind | None = None


def list_repairs(
    service: Service,
    place: Place,
    wanted: RepairFilter,
    *,
    limit: int,
    cursor: str | None,
    path: str,
    query: Mapping[str, object],
) -> shapes.Repairs:
    """A page of one platform's journal, as far as the token sees it.

    Args:
        service: The service.
        place: The platform.
        wanted: The repairs to list.
        limit: The most repairs of a page.
        cursor: Where the page before ended.
        path: The path that ``next`` leads to.
        query: Its query, without the cursor.

    Raises:
        Problem: 409 for a cursor that is none.
        CampaignOpsError: The platform cannot be read.
    """
    before = None if cursor is None else int(position_of(cursor, int)[0])
    with service.pool.reading(place.platform) as connected:
        tenants = place.token.among(own_tenant(connected, wanted.tenant))
        page = read_repairs(
            connected, campaign_id=wanted.campaign, tenants=tenants, kind=wanted.kind, before=before, limit=limit
        )
    more = next_page(path, cursor_of(page.repairs[-1]["id"]), **query) if page.more else None
    rows = [repair_document(row, undo=lambda repair: undo_path(place.platform, repair)) for row in page.repairs]
    return {"repairs": rows, "next": more}


@router.get("/api/workers", response_model=shapes.AllWorkers, responses=problems(404), tags=["Look"])
def workers(request: Request, service: TheService, asker: TheAsker, platform: PlatformName = None) -> Response:
    """The workers of each queue, as sweeps and the watcher saw them. Not for tenant-bound tokens."""
    places = service.places(asker, Scope.READ, platform)
    for place in places:
        unbound(place)
    known, away = service.read_each(places, lambda _, connected: workers_document(read_workers(connected)))
    document: shapes.AllWorkers = {
        "platforms": [{"platform": name, "workers": workers} for name, workers in known.items()],
        "away": away,
    }
    return tagged_json(request, document)


@router.get("/api/reports/latest", response_model=shapes.Report, responses=problems(400, 404), tags=["Look"])
def latest_report(request: Request, service: TheService, asker: TheAsker, platform: PlatformName = None) -> Response:
    """The health report that the latest sweep stored, in figures and as Markdown. Not for tenant-bound tokens."""
    place = _one_platform(service, asker, Scope.READ, platform)
    unbound(place)
    with service.pool.reading(place.platform) as connected:
        document: shapes.Report = {"platform": place.platform, "report": report_document(stored_report(connected))}
    return tagged_json(request, document)


def unbound(place: Place) -> None:
    """Refuse a tenant-bound token what is about all tenants.

    Raises:
        Problem: 403.
    """
    if place.token.tenants is not None:
        detail = "this is about all tenants, and the token is bound to some"
        raise Problem(403, "forbidden", detail, "GET /api/campaigns shows what it may see")
