"""Now: is the sweep fresh, what is open, what needs a person, and how the last day went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from starlette.responses import Response

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.incidents import State
from campaign_ops.core.tokens import Scope
from campaign_ops.faces import shapes
from campaign_ops.faces.http.api.campaigns import list_campaigns
from campaign_ops.faces.http.api.incidents import visible_incidents
from campaign_ops.faces.http.console.pages import Visitor, render, visitor_of
from campaign_ops.faces.http.etags import tagged
from campaign_ops.faces.http.service import Place
from campaign_ops.faces.http.shapes import PlatformLine
from campaign_ops.queries.curves import NAMES, day_of_sweeps

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

SHOWN = 10


@dataclass
class PlatformNow:
    """One platform at a glance. ``error`` says why nothing more is known."""

    line: PlatformLine
    incidents: list[shapes.Incident] = field(default_factory=list)
    has_curves: bool = False
    error: str = ""

    @property
    def open(self) -> int:
        """Incidents that no person has acknowledged or silenced."""
        return sum(incident["state"] == State.OPEN for incident in self.incidents)


@router.get("/")
def now(visitor: TheVisitor) -> Response:
    """The page to open at 3 a.m."""
    service = visitor.service
    lines = {line["platform"]: line for line in service.health.lines()}
    platforms = [_platform(visitor, lines[name]) for name in visitor.platforms]
    platforms += [PlatformNow(lines[name], error="whether it knows you cannot be asked") for name in visitor.unasked]
    places = [place for place in service.places(visitor.asker, Scope.READ, None) if place.platform in visitor.platforms]
    waiting = _needs_person(visitor, places)
    return render(visitor, "now.html", platforms=platforms, waiting=waiting)


def _platform(visitor: Visitor, line: PlatformLine) -> PlatformNow:
    name = line["platform"]
    glance = PlatformNow(line, has_curves=not visitor.bound(name))
    try:
        with visitor.service.pool.reading(name) as connected:
            glance.incidents = visible_incidents(Place(name, visitor.tokens[name]), connected, limit=50)
    except CampaignOpsError as error:
        glance.error = str(error)
    return glance


def _needs_person(visitor: Visitor, places: list[Any]) -> Any:
    try:
        return list_campaigns(
            visitor.service,
            places,
            {"verdict": None, "needs_person": True, "search": ""},
            limit=SHOWN,
            cursor=None,
            path="/campaigns",
            query={"needs_person": "1"},
        )
    except CampaignOpsError:
        return {"campaigns": [], "counts": {}, "next": None, "away": [place.platform for place in places], "as_of": {}}


@router.get("/curves/{platform}")
def curves(visitor: TheVisitor, platform: str) -> Response:
    """The curves of one platform's last day."""
    place = visitor.service.place(visitor.asker, Scope.READ, platform)
    if place.token.tenants is not None:
        return JSONResponse({"at": [], "series": []})
    with visitor.service.pool.reading(place.platform) as connected:
        points = day_of_sweeps(connected)
    labels = {"stuck": "stuck", "sending": "sending", "needs_person": "needs a person", "waiting": "jobs waiting"}
    shown = [name for name in (*NAMES, "waiting") if any(figures[name] is not None for _, figures in points)]
    document = {
        "at": [int(at.timestamp()) for at, _ in points],
        "series": [{"label": labels[name], "values": [figures[name] for _, figures in points]} for name in shown],
    }
    return tagged(visitor.request, JSONResponse(document))
