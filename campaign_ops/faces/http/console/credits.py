"""Credits: what reservations hold for each tenant, and those that a sweep has left for a person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.http.console.pages import Visitor, chosen, render, visitor_of
from campaign_ops.faces.http.problems import problem_of
from campaign_ops.queries.credits import SHOWN, credits_of

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]


@router.get("/credits")
def credits_page(visitor: TheVisitor, platform: Annotated[str, Query(max_length=31)] = "") -> Response:
    """Show the credits of one platform; a visitor who is bound to tenants sees theirs."""
    place = chosen(visitor, platform)
    known, problem = None, None
    try:
        with visitor.service.pool.reading(place.platform) as connected:
            known = credits_of(connected, place.token.tenants)
    except CampaignOpsError as error:
        problem = problem_of(error)
    return render(
        visitor,
        "credits.html",
        status=200 if problem is None else problem.status,
        platform=place.platform,
        credits=known,
        problem=problem,
        shown=SHOWN,
    )
