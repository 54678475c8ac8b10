"""Campaigns: the list of the stuck ones, and one campaign with its evidence, its story and the fixes that may help."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from campaign_ops.core.model import Verdict
from campaign_ops.core.next_steps import step_of
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.http.api.campaigns import detail_document, detail_of, list_campaigns
from campaign_ops.faces.http.api.common import checked
from campaign_ops.faces.http.console.fix import OFFERED
from campaign_ops.faces.http.console.pages import Visitor, render, visitor_of
from campaign_ops.faces.http.fixes import ROUTES
from campaign_ops.fixes.table import FIXES
from campaign_ops.queries.owners import Subject

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

PAGE = 50
_MENDED_BY = {
    Verdict.FINISHED: ("mark-complete",),
    Verdict.EMPTY: ("mark-complete",),
    Verdict.DISPUTED: ("mark-complete",),
    Verdict.JOBS_FAILED: ("reenqueue",),
    Verdict.JOBS_LOST: ("reenqueue",),
    Verdict.NO_WORKERS: ("reenqueue",),
    Verdict.QUARANTINED: ("retry-quarantined", "reenqueue"),
    Verdict.AMBIGUOUS: ("take-as-sent", "send-again"),
}
"""The fixes that may help, by verdict; the fix itself refuses where its premise does not hold."""


@router.get("/campaigns")
def campaigns(
    visitor: TheVisitor,
    platform: Annotated[str, Query(max_length=31)] = "",
    verdict: Verdict | Literal[""] = "",
    search: Annotated[str, Query(max_length=100)] = "",
    needs_person: str = "",
    cursor: Annotated[str, Query(max_length=600)] = "",
) -> Response:
    """The campaigns that the latest sweep found stuck."""
    places = visitor.service.places(visitor.asker, Scope.READ, platform or None)
    document = list_campaigns(
        visitor.service,
        places,
        {"verdict": verdict or None, "needs_person": bool(needs_person), "search": checked(search, "search")},
        limit=PAGE,
        cursor=cursor or None,
        path="/campaigns",
        query={"platform": platform, "verdict": verdict, "search": search, "needs_person": needs_person},
    )
    return render(visitor, "campaigns.html", document=document, verdicts=list(Verdict), platform=platform)


@router.get("/campaigns/{platform}")
def campaign(
    visitor: TheVisitor,
    platform: str,
    campaign_id: Annotated[str, Query(alias="id")],
    done: int | None = None,
) -> Response:
    """One campaign, read now."""
    place, _ = visitor.service.find(
        visitor.asker, Scope.READ, platform, Subject.CAMPAIGN, checked(campaign_id, "campaign")
    )
    document = detail_document(place.platform, detail_of(visitor.service, place.platform, campaign_id))
    verdict = document["campaign"]["verdict"]
    names = _MENDED_BY.get(Verdict(verdict), ()) if verdict in list(Verdict) else ()
    if document["held_reason"] and "retry-quarantined" not in names:
        names = ("retry-quarantined", *names)
    fixes = [
        (name, OFFERED[name], str(FIXES[name].undoing), visitor.may(ROUTES[name].scope, platform)) for name in names
    ]
    return render(
        visitor,
        "campaign.html",
        document=document,
        platform=place.platform,
        next_step=step_of(Verdict(verdict), place.platform, campaign_id) if verdict in list(Verdict) else "",
        fixes=fixes,
        done=next((repair for repair in document["repairs"] if repair["id"] == done), None),
    )
