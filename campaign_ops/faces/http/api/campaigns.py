"""Campaigns: the stuck ones, page by page, and one of them with its evidence and its story."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.convertors import register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from campaign_ops.core.model import Verdict
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.documents import campaign_document, iso, percent, repair_document
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.common import (
    Cursor,
    Id,
    IdConvertor,
    Limit,
    PlatformName,
    TheAsker,
    TheService,
    checked,
    problems,
)
from campaign_ops.faces.http.cursors import cursor_of, next_page, position_of
from campaign_ops.faces.http.etags import tagged_json
from campaign_ops.faces.http.fixes import ROUTES
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.platform import Platform
from campaign_ops.queries.campaigns import (
    CampaignDetail,
    Position,
    StuckFilter,
    StuckPage,
    campaign_detail,
    stuck_campaigns_page,
)
from campaign_ops.queries.owners import Subject, own_tenant

router = APIRouter()


class _CampaignConvertor(IdConvertor):
    """The path of a fix is no campaign's: it takes no GET."""

    regex = f"(?s:(?!.*/(?:{'|'.join(ROUTES)})$).+)"


register_url_convertor("campaign", _CampaignConvertor())


@router.get("/api/campaigns", response_model=shapes.StuckCampaigns, responses=problems(404, 409), tags=["Look"])
def campaigns(
    request: Request,
    service: TheService,
    asker: TheAsker,
    platform: PlatformName = None,
    verdict: Annotated[Verdict | None, Query(description="Only with this verdict.")] = None,
    tenant: Annotated[str | None, Query(description="Only of this tenant.", max_length=255)] = None,
    search: Annotated[str, Query(description="Only with this in the id or the name.", max_length=100)] = "",
    needs_person: Annotated[bool, Query(description="Only those that no later sweep repairs.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The campaigns that the latest sweep found stuck, the longest stuck first; platform after platform."""
    tenant = None if tenant is None else checked(tenant, "tenant")
    search = checked(search, "search")
    wanted = {"verdict": verdict.value if verdict else None, "needs_person": needs_person, "search": search}
    query = wanted | {"platform": platform, "tenant": tenant, "limit": limit}
    places = service.places(asker, Scope.READ, platform)
    document = list_campaigns(
        service, places, wanted, tenant=tenant, limit=limit, cursor=cursor, path="/api/campaigns", query=query
    )
    return tagged_json(request, document)


def list_campaigns(
    service: Service,
    places: list[Place],
    wanted: dict[str, Any],
    *,
    tenant: str | None = None,
    limit: int,
    cursor: str | None,
    path: str,
    query: dict[str, Any],
) -> shapes.StuckCampaigns:
    """A page of stuck campaigns, platform after platform.

    Args:
        service: The service.
        places: The platforms.
        wanted: Fields of `StuckFilter`.
        tenant: Only of this tenant.
        limit: The most campaigns of a page.
        cursor: Where the page before ended.
        path: The path that ``next`` leads to.
        query: Its query, without the cursor.

    Raises:
        Problem: 409 for a cursor that is none.
        CampaignOpsError: The only platform cannot be read.
    """
    start, after = "", None
    if cursor is not None:
        name, sweep_id, seconds, campaign_id = position_of(cursor, str, int, int, str)
        start = str(name)
        after = Position(int(sweep_id), int(seconds), str(campaign_id)) if sweep_id else None
    document: shapes.StuckCampaigns = {"as_of": {}, "counts": {}, "campaigns": [], "next": None, "away": []}

    def add(place: Place, platform: Platform) -> None:
        room = limit - len(document["campaigns"])
        seen = StuckFilter(tenants=place.token.among(own_tenant(platform, tenant)), **wanted)
        listed = place.platform >= start and room > 0 and document["next"] is None
        position = after if place.platform == start else None
        page = stuck_campaigns_page(platform, seen, after=position, limit=room if listed else 1)
        document["as_of"][place.platform] = iso(page.at)
        for verdict, number in page.counts.items():
            document["counts"][verdict] = document["counts"].get(verdict, 0) + number
        if listed:
            document["campaigns"] += [_stuck(place.platform, row) for row in page.rows]
            document["next"] = _next(place.platform, page, path, query)
        elif place.platform > start and room <= 0 and document["next"] is None and page.rows:
            document["next"] = next_page(path, cursor_of(place.platform, 0, 0, ""), **query)

    _, document["away"] = service.read_each(sorted(places, key=lambda place: place.platform), add)
    return document


def _next(platform: str, page: StuckPage, path: str, query: dict[str, Any]) -> str | None:
    if page.more is None:
        return None
    position = cursor_of(platform, page.more.sweep_id, page.more.stuck_seconds, page.more.campaign_id)
    return next_page(path, position, **query)


def _stuck(platform: str, row: Any) -> shapes.StuckCampaign:
    return {
        "platform": platform,
        "id": row["id"],
        "tenant": row["tenant"] or "",
        "name": row["name"] or "",
        "verdict": row["verdict"],
        "reason": row["reason"],
        "repair": None if row["kind"] == "none" else row["kind"],
        "needs_person": row["needs_person"],
        "total": row["total"] or 0,
        "unsent": row["unsent"] or 0,
        "percent": percent(row["total"] or 0, row["unsent"] or 0),
        "pending": row["pending"] or 0,
        "succeeded": (row["succeeded"] or 0) + (row["accepted"] or 0),
        "failed": row["failed"] or 0,
        "missing": row["missing"],
        "stuck_seconds": row["stuck_seconds"],
    }


@router.get(
    "/api/campaigns/{campaign_id:campaign}",
    response_model=shapes.CampaignDocument,
    responses=problems(400, 404),
    tags=["Look"],
)
def campaign(
    request: Request, service: TheService, asker: TheAsker, campaign_id: Id, platform: PlatformName = None
) -> Response:
    """One campaign, read now: verdict, evidence, coverage, and what sweeps and people did to it."""
    campaign_id = checked(campaign_id, "campaign_id")
    place, _ = service.find(asker, Scope.READ, platform, Subject.CAMPAIGN, campaign_id)
    detail = detail_of(service, place.platform, campaign_id)
    return tagged_json(request, detail_document(place.platform, detail))


def detail_of(service: Service, platform: str, campaign_id: str) -> CampaignDetail:
    """Read one campaign now, in a look that other requests may share."""
    observation = service.looks.at(platform, campaign_id)
    with service.pool.reading(platform) as connected:
        return campaign_detail(connected, campaign_id, observation)


def detail_document(platform: str, detail: CampaignDetail) -> shapes.CampaignDocument:
    """One campaign with everything known of it."""
    coverage = detail.coverage
    return {
        "platform": platform,
        "at": detail.at.isoformat(),
        "status": detail.campaign.status,
        "sending": detail.sending,
        "needs_person": detail.needs_person,
        "campaign": campaign_document(detail.line),
        "accepted": detail.accepted,
        "unknown": dict(detail.unknown),
        "covered": None if coverage is None else coverage.covered,
        "missing": None if coverage is None else coverage.missing,
        "marked": None if coverage is None else coverage.marked,
        "doubled": None if coverage is None else coverage.doubled,
        "live_jobs": None if coverage is None else coverage.live_jobs,
        "attempts": detail.attempts,
        "attempts_without_progress": detail.attempts_without_progress,
        "held_reason": detail.held_reason,
        "ambiguous": list(detail.ambiguous),
        "repairs": [repair_document(row, undo=lambda repair: undo_path(platform, repair)) for row in detail.repairs],
        "judgements": [
            {
                "sweep": row["sweep_id"],
                "at": row["observed_at"].isoformat(),
                "verdict": row["verdict"],
                "reason": row["reason"],
            }
            for row in detail.verdicts
        ],
    }


def undo_path(platform: str, repair: int) -> str:
    """The path that undoes a repair."""
    return f"/api/repairs/{repair}/undo?platform={platform}"
