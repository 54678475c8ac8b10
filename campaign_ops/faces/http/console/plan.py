"""Plan and breaker: what a sweep would do now, starting one, confirming what a breaker holds back, and how it ends."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.tokens import Scope
from campaign_ops.faces import shapes
from campaign_ops.faces.http.api.common import checked
from campaign_ops.faces.http.attempts import Answered, Attempt, once, refusals_noted
from campaign_ops.faces.http.console.pages import (
    Visitor,
    chosen,
    form_of,
    not_for_tenants,
    reason_of,
    render,
    visitor_of,
)
from campaign_ops.faces.http.problems import Problem, problem_of
from campaign_ops.faces.http.service import Place
from campaign_ops.platform import Platform

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

SHOWN = 200
"""Lines of a plan on a page: those that change something first."""


@router.get("/plan")
def plan(visitor: TheVisitor, platform: Annotated[str, Query(max_length=31)] = "") -> Response:
    """Show what a sweep would do now."""
    return _page(visitor, chosen(visitor, platform))


def _page(visitor: Visitor, place: Place, problem: Problem | None = None) -> Response:
    if place.token.tenants is not None:
        return not_for_tenants(visitor)
    planned, unreadable = None, None
    try:
        planned = visitor.service.sweeps.plan(place.platform)["plan"]
    except CampaignOpsError as error:
        unreadable = problem_of(error)
    failed = problem or unreadable
    return render(
        visitor,
        "plan.html",
        status=200 if failed is None else failed.status,
        platform=place.platform,
        plan=planned,
        lines=_shown(planned),
        problem=problem,
        unreadable=unreadable,
    )


def _shown(result: shapes.SweepResult | None) -> list[shapes.Line]:
    """The lines that a page shows: those that change something first, then those that need a person."""
    lines = [] if result is None else result["lines"]
    return sorted(lines, key=lambda line: (line["kind"] is None, not line["needs_person"]))[:SHOWN]


@router.post("/plan/sweep")
async def sweep_now(request: Request) -> Response:
    """Start a sweep."""
    fields = await form_of(request)
    return await run_in_threadpool(_sweep, request, fields)


def _sweep(request: Request, fields: dict[str, str]) -> Response:
    return _started(request, fields, Scope.SWEEP, None)


@router.post("/plan/confirm")
async def confirm(request: Request) -> Response:
    """Sweep once with the code of the plan that the form has shown."""
    fields = await form_of(request)
    return await run_in_threadpool(_confirm, request, fields)


def _attempt(visitor: Visitor, reason: str = "") -> Attempt:
    return Attempt(visitor.asker, visitor.request.method, visitor.request.url.path, reason=reason)


def _confirm(request: Request, fields: dict[str, str]) -> Response:
    visitor = visitor_of(request)
    with refusals_noted(visitor.service, _attempt(visitor), fields.get("platform")):
        place = visitor.service.place(visitor.asker, Scope.CONFIRM, fields.get("platform", ""))
    try:
        code = checked(fields.get("code", "").strip(), "code")
        confirmation = Confirmation(code, place.token.name, reason_of(fields))
    except Problem as problem:
        return _page(visitor, place, problem)
    return _started(request, fields, Scope.CONFIRM, confirmation)


def _started(request: Request, fields: dict[str, str], scope: Scope, confirmation: Confirmation | None) -> Response:
    """Start a sweep as the API does, and lead to the page that shows how it ends."""
    visitor = visitor_of(request)
    with refusals_noted(visitor.service, _attempt(visitor), fields.get("platform")):
        place = visitor.service.place(visitor.asker, scope, fields.get("platform", ""), fresh=True)
    if place.token.tenants is not None:
        return not_for_tenants(visitor)
    by = place.token.name
    if confirmation is not None:
        confirmation = Confirmation(confirmation.code, by, confirmation.reason)

    def _start(_: Platform, __: str) -> Answered:
        if confirmation is None:
            return 202, visitor.service.sweeps.start(place.platform, by)
        return 202, visitor.service.sweeps.run(place.platform, by, confirmation).document

    try:
        attempt = _attempt(visitor, confirmation.reason if confirmation is not None else "")
        _, state = once(visitor.service, attempt, place, {}, _start)
    except (Problem, CampaignOpsError) as error:
        return _page(visitor, place, problem_of(error))
    return RedirectResponse(f"/sweeps/{quote(place.platform, safe='')}/{quote(state['run_id'], safe='')}", 303)


@router.get("/sweeps/{platform}/{run_id}")
def sweep(visitor: TheVisitor, platform: str, run_id: str) -> Response:
    """Show a sweep that was asked for: running, or how it ended."""
    place = visitor.service.place(visitor.asker, Scope.READ, platform)
    if place.token.tenants is not None:
        return not_for_tenants(visitor)
    state = visitor.service.sweeps.state(place.platform, checked(run_id, "run"))
    dagster = visitor.service.dagster
    in_dagster = f"{dagster.url}/runs/{quote(run_id)}" if state["by"] == "dagster" and dagster is not None else ""
    return render(
        visitor,
        "sweep.html",
        platform=place.platform,
        sweep=state,
        lines=_shown(state["result"]),
        in_dagster=in_dagster,
        refreshing=state["state"] == "running" or (state["state"] == "unknown" and bool(in_dagster)),
    )
