"""Incidents: what needs a person on every platform, one of them with its history, and taking it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from campaign_ops.core.causes import Cause
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.incidents import UNRESOLVED, State, What
from campaign_ops.core.tokens import Scope
from campaign_ops.faces import shapes
from campaign_ops.faces.http.api.common import Number
from campaign_ops.faces.http.api.incidents import Handling, Silencing, handle, incident_detail, list_incidents
from campaign_ops.faces.http.attempts import Attempt
from campaign_ops.faces.http.console.pages import Visitor, form_of, reason_of, render, visitor_of
from campaign_ops.faces.http.problems import Problem, problem_of

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

SHOWN = 100
HOW = {"acknowledge": What.ACKNOWLEDGED, "silence": What.SILENCED, "resolve": What.RESOLVED}
SILENCES = ((30, "30 minutes"), (120, "2 hours"), (480, "8 hours"), (1440, "a day"), (10080, "a week"))
PAGES: Mapping[Cause, tuple[str, str]] = {
    Cause.SWEEP_STALE: ("/plan?platform={}", "Plan, and sweep now"),
    Cause.BREAKER: ("/plan?platform={}", "Plan, and confirm what is held back"),
    **dict.fromkeys(
        (
            Cause.QUEUE_UNREADABLE,
            Cause.QUEUE_EMPTIED,
            Cause.QUEUE_PAUSED,
            Cause.NO_WORKERS,
            Cause.WORKERS_RESTARTING,
            Cause.BACKLOG,
        ),
        ("/queue", "Queue and workers"),
    ),
    **dict.fromkeys(
        (Cause.STUCK, Cause.QUARANTINED, Cause.AMBIGUOUS),
        ("/campaigns?platform={}&needs_person=1", "Campaigns that need a person"),
    ),
    **dict.fromkeys(
        (Cause.UNKNOWN_WORD, Cause.CONFIGURATION_BROKEN, Cause.DATABASE_AWAY),
        ("/platforms/{}/examination", "What the doctor finds"),
    ),
    Cause.CREDITS_LEAKED: ("/credits?platform={}", "Credits"),
}
"""The page that helps with a cause, as its address and what the link says; none for what Dagster alone can show."""
_ORDER = [State.OPEN, State.ACKNOWLEDGED, State.SILENCED, State.SUSPECTED, State.RESOLVED]


@router.get("/incidents")
def incidents(
    visitor: TheVisitor,
    platform: Annotated[str, Query(max_length=31)] = "",
    everything: Annotated[str, Query(alias="all", max_length=10)] = "",
) -> Response:
    """Show the incidents of all platforms, the open ones first."""
    places = visitor.service.places(visitor.asker, Scope.READ, platform or None)
    document = list_incidents(visitor.service, places, everything=bool(everything), limit=SHOWN)
    rows = [(known["platform"], incident) for known in document["platforms"] for incident in known["incidents"]]
    rows.sort(key=lambda row: _rank(row[1]))
    return render(visitor, "incidents.html", document=document, rows=rows, platform=platform, everything=everything)


def _rank(incident: shapes.Incident) -> int:
    return _ORDER.index(State(incident["state"]))


@router.get("/incidents/{platform}/{number}")
def incident(visitor: TheVisitor, platform: str, number: Number) -> Response:
    """Show one incident."""
    return _page(visitor, platform, number)


@router.post("/incidents/{platform}/{number}/{how}")
async def take_on(request: Request, platform: str, number: Number, how: str) -> Response:
    """Acknowledge, silence or resolve an incident."""
    if how not in HOW:
        raise Problem(404, "no_such_path", "there is nothing at this path", "go back to the incident")
    fields = await form_of(request)
    return await run_in_threadpool(_take_on, request, platform, number, how, fields)


def _take_on(request: Request, platform: str, number: int, how: str, fields: dict[str, str]) -> Response:
    visitor = visitor_of(request)
    try:
        reason = reason_of(fields)
        body = Handling(reason=reason)
        if how == "silence":
            body = Silencing(reason=reason, minutes=_minutes(fields))
        attempt = Attempt(visitor.asker, request.method, request.url.path, reason=reason)
        handle(visitor.service, attempt, number, HOW[how], body, platform)
    except (Problem, CampaignOpsError) as error:
        return _page(visitor, platform, number, problem_of(error), fields.get("reason", ""))
    return RedirectResponse(f"/incidents/{platform}/{number}", 303)


def _minutes(fields: dict[str, str]) -> int:
    minutes = fields.get("minutes", "")
    if minutes not in {str(offered) for offered, _ in SILENCES}:
        raise Problem(422, "invalid", "minutes: is none of the times to choose from", "choose one")
    return int(minutes)


def _page(visitor: Visitor, platform: str, number: int, problem: Problem | None = None, reason: str = "") -> Response:
    document = incident_detail(visitor.service, visitor.asker, platform, number)
    address, words = PAGES.get(Cause(document["incident"]["cause"]), ("", ""))
    return render(
        visitor,
        "incident.html",
        page=address.format(quote(document["platform"], safe="")),
        page_words=words,
        status=200 if problem is None else problem.status,
        platform=document["platform"],
        incident=document["incident"],
        events=document["events"],
        unresolved=document["incident"]["state"] in UNRESOLVED,
        may=visitor.may(Scope.INCIDENT, document["platform"]),
        silences=SILENCES,
        reason=reason,
        problem=problem,
    )
