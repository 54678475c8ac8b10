"""Records: the journal, incidents, workers, the stored health report; and what a person does to an incident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from campaign_ops.core.errors import CampaignOpsError, NotFound
from campaign_ops.core.incidents import Incident, State
from campaign_ops.core.model import RepairKind
from campaign_ops.core.tokens import Scope, Token
from campaign_ops.faces import shapes as documents
from campaign_ops.faces.documents import incident_document, iso, repair_document, report_document, workers_document
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.campaigns import Reason, undo_path
from campaign_ops.faces.http.api.common import (
    Cursor,
    Key,
    Limit,
    Number,
    PlatformName,
    TheAsker,
    TheService,
    attempt_of,
    checked,
    problems,
)
from campaign_ops.faces.http.cursors import cursor_of, next_page, position_of
from campaign_ops.faces.http.etags import tagged_json
from campaign_ops.faces.http.fixes import Answered, Attempt, once
from campaign_ops.faces.http.gate import Asker
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.platform import Platform
from campaign_ops.queries.history import repairs as read_repairs
from campaign_ops.queries.incidents import events, incident, incidents
from campaign_ops.queries.report import stored_report
from campaign_ops.queries.workers import workers as read_workers
from campaign_ops.watch import incidents as handling

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


@router.get("/api/repairs", response_model=shapes.Repairs, responses=problems(400, 404), tags=["Look"])
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
    before = None if cursor is None else int(position_of(cursor, int)[0])
    tenants = place.token.tenants
    if tenant is not None:
        tenants = frozenset({checked(tenant, "tenant")}) if place.token.sees(tenant) else frozenset()
    with service.pool.reading(place.platform) as connected:
        page = read_repairs(
            connected,
            campaign_id=None if campaign is None else checked(campaign, "campaign"),
            tenants=tenants,
            kind=kind,
            before=before,
            limit=limit,
        )
    more = None
    if page.more:
        query = {"platform": place.platform, "campaign": campaign, "tenant": tenant, "kind": kind, "limit": limit}
        more = next_page("/api/repairs", cursor_of(page.repairs[-1]["id"]), **query)
    found = [repair_document(row, undo=lambda repair: undo_path(place.platform, repair)) for row in page.repairs]
    document: shapes.Repairs = {"repairs": found, "next": more}
    return tagged_json(request, document)


@router.get("/api/incidents", response_model=shapes.Incidents, responses=problems(404), tags=["Look"])
def all_incidents(
    request: Request,
    service: TheService,
    asker: TheAsker,
    platform: PlatformName = None,
    everything: Annotated[bool, Query(alias="all", description="Also resolved and suspected ones.")] = False,
    limit: Limit = 100,
) -> Response:
    """The incidents of all platforms, the newest first. A tenant-bound token sees those with its tenants alone."""
    document: shapes.Incidents = {"open": 0, "platforms": [], "away": []}
    places = service.places(asker, Scope.READ, platform)
    for place in places:
        try:
            with service.pool.reading(place.platform) as connected:
                rows = incidents(connected, everything=everything, limit=limit)
        except CampaignOpsError:
            if len(places) == 1:
                raise
            document["away"].append(place.platform)
            continue
        found = [incident_document(place.platform, row) for row in rows]
        seen = [one for one in (seen_by(place.token, one) for one in found) if one is not None]
        document["open"] += sum(one["state"] == State.OPEN for one in seen)
        document["platforms"].append({"platform": place.platform, "incidents": seen})
    return tagged_json(request, document)


def seen_by(token: Token, one: documents.Incident) -> documents.Incident | None:
    """What a token may see of an incident: None of one that is about other tenants alone.

    Of one that is about others, too, only its cause: the owner of each campaign behind it is not recorded.
    """
    if token.tenants is None or (one["tenants"] and set(one["tenants"]) <= token.tenants):
        return one
    own = [tenant for tenant in one["tenants"] if token.sees(tenant)]
    if not own:
        return None
    return {
        **one,
        "tenants": own,
        "campaigns": [],
        "detail": "",
        "count": 0,
        "headline": one["cause"].replace("_", " "),
    }


@router.get(
    "/api/incidents/{number}", response_model=shapes.IncidentDocument, responses=problems(400, 404), tags=["Look"]
)
def one_incident(
    request: Request, service: TheService, asker: TheAsker, number: Number, platform: PlatformName = None
) -> Response:
    """One incident with its history."""
    place = _place_of_incident(service, asker, Scope.READ, platform, number)
    with service.pool.reading(place.platform) as connected:
        row, history = incident(connected, number), events(connected, number)
    document: shapes.IncidentDocument = {
        "platform": place.platform,
        "incident": incident_document(place.platform, row),
        "events": [
            {
                "at": event["at"].isoformat(),
                "what": event["what"],
                "by": event["actor"],
                "reason": event["reason"],
                "severity": event["severity"],
                "count": event["count"],
            }
            for event in history
        ],
    }
    return tagged_json(request, document)


def _place_of_incident(service: Service, asker: Asker, scope: Scope, platform: str | None, number: int) -> Place:
    """The platform of an incident that the asker may see as a whole."""
    found = []
    for place in service.places(asker, scope, platform):
        with service.pool.reading(place.platform) as connected:
            try:
                row = incident(connected, number)
            except NotFound:
                continue
        if place.token.tenants is None or (set(row["tenants"]) and set(row["tenants"]) <= place.token.tenants):
            found.append(place)
    if not found:
        raise NotFound("no such incident", where=f"incident {number}", mend="GET /api/incidents lists them")
    if len(found) > 1:
        names = ", ".join(place.platform for place in found)
        raise Problem(400, "which_platform", f"incident {number}: found on {names}", "name the platform")
    return found[0]


class Handling(BaseModel):
    """What a person says of an incident."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="Why, for the incident's history.")
    platform: str | None = Field(default=None, max_length=31, description="Needed where several have that number.")
    dry_run: bool = Field(default=False, description="Only answer what the incident is now.")


class Silencing(Handling):
    """A silence ends by itself, or when it gets worse."""

    minutes: int = Field(ge=1, le=60 * 24 * 30, description="For so long.")


def _handle(
    service: Service,
    attempt: Attempt,
    number: int,
    body: Handling,
    platform: str | None,
    change: Callable[[Platform, str], Incident],
) -> JSONResponse:
    place = _place_of_incident(service, attempt.asker, Scope.INCIDENT, body.platform or platform, number)
    place = service.place(attempt.asker, Scope.INCIDENT, place.platform, fresh=True)

    def _work(connected: Platform, _: str) -> Answered:
        if body.dry_run:
            row = incident(connected, number)
            state, until = row["state"], iso(row["silenced_until"])
        else:
            after = change(connected, place.token.name)
            state, until = after.state.value, iso(after.silenced_until)
        document: shapes.Handled = {
            "platform": place.platform,
            "incident": {"id": number, "state": state, "silenced_until": until},
        }
        return 200, document

    status, document = once(service, attempt, place, body.model_dump(), _work)
    return JSONResponse(document, status)


@router.post(
    "/api/incidents/{number}/acknowledge",
    response_model=shapes.Handled,
    responses=problems(400, 404, 409),
    tags=["Incidents"],
)
def acknowledge(
    request: Request,
    service: TheService,
    asker: TheAsker,
    number: Number,
    body: Handling,
    platform: PlatformName = None,
    key: Key = None,
) -> JSONResponse:
    """Take an incident on: it is not notified again unless it gets worse. Scope `incident`."""

    def _change(connected: Platform, by: str) -> Incident:
        return handling.acknowledge(connected, number, by=by, reason=body.reason)

    return _handle(service, attempt_of(request, asker, key), number, body, platform, _change)


@router.post(
    "/api/incidents/{number}/silence",
    response_model=shapes.Handled,
    responses=problems(400, 404, 409),
    tags=["Incidents"],
)
def silence(
    request: Request,
    service: TheService,
    asker: TheAsker,
    number: Number,
    body: Silencing,
    platform: PlatformName = None,
    key: Key = None,
) -> JSONResponse:
    """Send nothing about an incident for a time, unless it gets worse. Scope `incident`."""

    def _change(connected: Platform, by: str) -> Incident:
        until = timedelta(minutes=body.minutes)
        return handling.silence(connected, number, until=until, by=by, reason=body.reason)

    return _handle(service, attempt_of(request, asker, key), number, body, platform, _change)


@router.post(
    "/api/incidents/{number}/resolve",
    response_model=shapes.Handled,
    responses=problems(400, 404, 409),
    tags=["Incidents"],
)
def resolve(
    request: Request,
    service: TheService,
    asker: TheAsker,
    number: Number,
    body: Handling,
    platform: PlatformName = None,
    key: Key = None,
) -> JSONResponse:
    """End an incident. If its cause holds, new looks reopen it. Scope `incident`."""

    def _change(connected: Platform, by: str) -> Incident:
        return handling.resolve(connected, number, service.settings.notify, by=by, reason=body.reason)

    return _handle(service, attempt_of(request, asker, key), number, body, platform, _change)


@router.get("/api/workers", response_model=shapes.AllWorkers, responses=problems(404), tags=["Look"])
def workers(request: Request, service: TheService, asker: TheAsker, platform: PlatformName = None) -> Response:
    """The workers of each queue, as sweeps and the watcher saw them."""
    document: shapes.AllWorkers = {"platforms": [], "away": []}
    places = service.places(asker, Scope.READ, platform)
    for place in places:
        try:
            with service.pool.reading(place.platform) as connected:
                known = workers_document(read_workers(connected))
        except CampaignOpsError:
            if len(places) == 1:
                raise
            document["away"].append(place.platform)
            continue
        document["platforms"].append({"platform": place.platform, "workers": known})
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
