"""Incidents: what needs a person, and what a person does about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from campaign_ops.core.errors import NotFound
from campaign_ops.core.incidents import Incident, State, What
from campaign_ops.core.tokens import Scope, Token
from campaign_ops.faces import shapes as documents
from campaign_ops.faces.documents import incident_document, iso
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.common import (
    Key,
    Limit,
    Number,
    PlatformName,
    Reason,
    TheAsker,
    TheService,
    attempt_of,
    one_platform,
    problems,
)
from campaign_ops.faces.http.attempts import Answered, Attempt, once, refusals_noted
from campaign_ops.faces.http.etags import tagged_json
from campaign_ops.faces.http.gate import Asker
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.platform import Platform
from campaign_ops.queries.incidents import events, incident, incidents
from campaign_ops.watch import incidents as handling

router = APIRouter()


@router.get("/api/incidents", response_model=shapes.Incidents, responses=problems(404), tags=["Look"])
def all_incidents(
    request: Request,
    service: TheService,
    asker: TheAsker,
    platform: PlatformName = None,
    everything: Annotated[bool, Query(alias="all", description="Also resolved and suspected ones.")] = False,
    limit: Limit = 100,
) -> Response:
    """The incidents of all platforms, the open ones first. A tenant-bound token sees those with its tenants alone."""
    places = service.places(asker, Scope.READ, platform)
    return tagged_json(request, list_incidents(service, places, everything=everything, limit=limit))


def list_incidents(service: Service, places: Sequence[Place], *, everything: bool, limit: int) -> shapes.Incidents:
    """The incidents of these platforms, as far as the tokens see them.

    Raises:
        CampaignOpsError: The only platform cannot be read.
    """
    listed, away = service.read_each(places, partial(visible_incidents, everything=everything, limit=limit))
    pulses = service.health.pulses()
    return {
        "open": sum(row["state"] == State.OPEN for rows in listed.values() for row in rows),
        "platforms": [
            {"platform": name, "last_look_at": iso(pulses[name].last_look_at), "incidents": rows}
            for name, rows in listed.items()
        ],
        "away": away,
    }


def visible_incidents(
    place: Place, connected: Platform, *, everything: bool = False, limit: int
) -> list[documents.Incident]:
    """The incidents of a platform, as far as the token sees them, the open ones first."""
    rows = incidents(connected, everything=everything, limit=limit)
    documented = (incident_document(place.platform, row) for row in rows)
    return [visible for each in documented if (visible := _seen_by(place.token, each)) is not None]


def _sees_all_of(token: Token, tenants: Sequence[str]) -> bool:
    """Whether an incident about these tenants is about the token's alone; one about no tenant concerns all."""
    return token.tenants is None or (bool(tenants) and set(tenants) <= token.tenants)


def _seen_by(token: Token, incident: documents.Incident) -> documents.Incident | None:
    """What a token may see of an incident: None if it is about other tenants alone.

    Of an incident that is about others too, only the cause: the owner of each campaign behind it is not recorded.
    """
    if _sees_all_of(token, incident["tenants"]):
        return incident
    own = [tenant for tenant in incident["tenants"] if token.sees(tenant)]
    if not own:
        return None
    return {
        **incident,
        "tenants": own,
        "campaigns": [],
        "detail": "",
        "count": 0,
        "headline": incident["cause"].replace("_", " "),
    }


@router.get(
    "/api/incidents/{number}", response_model=shapes.IncidentDocument, responses=problems(400, 404), tags=["Look"]
)
def one_incident(
    request: Request, service: TheService, asker: TheAsker, number: Number, platform: PlatformName = None
) -> Response:
    """One incident with its history."""
    return tagged_json(request, incident_detail(service, asker, platform, number))


def incident_detail(service: Service, asker: Asker, platform: str | None, number: int) -> shapes.IncidentDocument:
    """One incident with its history.

    Raises:
        NotFound: None that the asker may see as a whole has this number.
        Problem: 400 where several platforms have one.
    """
    place = _place_of_incident(service, asker, Scope.READ, platform, number)
    with service.pool.reading(place.platform) as connected:
        row, history = incident(connected, number), events(connected, number)
    return {
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


def _place_of_incident(service: Service, asker: Asker, scope: Scope, platform: str | None, number: int) -> Place:
    """The platform of an incident that the asker may see as a whole."""
    found = []
    for place in service.places(asker, scope, platform):
        with service.pool.reading(place.platform) as connected:
            try:
                row = incident(connected, number)
            except NotFound:
                continue
        if _sees_all_of(place.token, row["tenants"]):
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


def handle(
    service: Service, attempt: Attempt, number: int, what: What, body: Handling, platform: str | None
) -> Answered:
    """Acknowledge, silence or resolve an incident; audited like every attempt.

    Args:
        service: The service.
        attempt: The request.
        number: The incident.
        what: `What.ACKNOWLEDGED`, `What.SILENCED` (then ``body`` is a `Silencing`) or `What.RESOLVED`.
        body: The reason.
        platform: The platform, where it is known.

    Returns:
        Status and body of the answer.

    Raises:
        Problem, CampaignOpsError: Nothing was changed.
    """
    named = one_platform(body.platform, platform)
    with refusals_noted(service, attempt, named):
        return _handle(service, attempt, number, what, body, named)


def _handle(
    service: Service, attempt: Attempt, number: int, what: What, body: Handling, platform: str | None
) -> Answered:
    place = _place_of_incident(service, attempt.asker, Scope.INCIDENT, platform, number)
    place = service.place(attempt.asker, Scope.INCIDENT, place.platform, fresh=True)

    def _work(connected: Platform, _: str) -> Answered:
        if body.dry_run:
            row = incident(connected, number)
            state, until = row["state"], iso(row["silenced_until"])
        else:
            after = _handled(service, connected, number, what, body, place.token.name)
            state, until = after.state.value, iso(after.silenced_until)
        document: shapes.Handled = {
            "platform": place.platform,
            "incident": {"id": number, "state": state, "silenced_until": until},
        }
        return 200, document

    return once(service, attempt, place, body.model_dump(), _work)


def _handled(service: Service, connected: Platform, number: int, what: What, body: Handling, by: str) -> Incident:
    if what is What.ACKNOWLEDGED:
        return handling.acknowledge(connected, number, by=by, reason=body.reason)
    if isinstance(body, Silencing):
        until = timedelta(minutes=body.minutes)
        return handling.silence(connected, number, until=until, by=by, reason=body.reason)
    return handling.resolve(connected, number, service.settings.notify, by=by, reason=body.reason)


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
    status, document = handle(service, attempt_of(request, asker, key, body), number, What.ACKNOWLEDGED, body, platform)
    return JSONResponse(document, status)


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
    status, document = handle(service, attempt_of(request, asker, key, body), number, What.SILENCED, body, platform)
    return JSONResponse(document, status)


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
    status, document = handle(service, attempt_of(request, asker, key, body), number, What.RESOLVED, body, platform)
    return JSONResponse(document, status)
