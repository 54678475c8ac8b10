"""Sweeps: what one would do, starting one, confirming what a breaker holds back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.errors import CampaignOpsError, SweepBusy
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.common import (
    Code,
    Id,
    Key,
    PlatformName,
    Reason,
    TheAsker,
    TheService,
    attempt_of,
    checked,
    problems,
)
from campaign_ops.faces.http.api.records import unbound
from campaign_ops.faces.http.attempts import Answered, Attempt, once, refusals_noted
from campaign_ops.faces.http.etags import tagged_json
from campaign_ops.faces.http.problems import BUSY, Problem, problem_of
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.platform import Platform

router = APIRouter(tags=["Sweep"])

CONFIRM_WAIT_SECONDS = 20


class SweepRequest(BaseModel):
    """A sweep of one platform, or of all that the token may sweep."""

    model_config = ConfigDict(extra="forbid")

    platform: str | None = Field(default=None, max_length=31)
    dry_run: bool = Field(default=False, description="Only answer what it would do.")
    reason: str = Field(default="", max_length=500, description="Why; a sweep needs no reason.")


class ConfirmRequest(BaseModel):
    """The code of a plan, and why it is right to go on."""

    model_config = ConfigDict(extra="forbid")

    code: Annotated[Code, StringConstraints(min_length=1)]
    reason: Reason
    platform: str | None = Field(default=None, max_length=31)
    dry_run: bool = Field(default=False, description="Only answer what a sweep would do now.")


@router.get("/api/plan", response_model=shapes.Plan, responses=problems(400, 404))
def plan(
    service: TheService,
    asker: TheAsker,
    platform: PlatformName = None,
) -> JSONResponse:
    """What a sweep of one platform would do now, line by line; read now, and not for tenant-bound tokens.

    Where a breaker would hold something back, ``held_back`` has the code that confirms exactly that; where the queue
    was emptied and nothing is held back, ``alarm`` has the code that confirms that this is the queue.
    """
    places = service.places(asker, Scope.READ, platform)
    if len(places) > 1:
        raise Problem(400, "which_platform", "the token reaches several platforms", "name the platform")
    unbound(places[0])
    return JSONResponse(service.sweeps.plan(places[0].platform))


@router.post(
    "/api/internal/reconciliation",
    response_model=shapes.StartedSweeps,
    status_code=202,
    responses=problems(404, 409) | {200: {"model": shapes.PlannedSweeps, "description": "With `dry_run`."}},
)
def reconciliation(
    request: Request, service: TheService, asker: TheAsker, body: SweepRequest | None = None, key: Key = None
) -> JSONResponse:
    """Start a sweep: in Dagster where it is configured and answers, else here. Scope `sweep`.

    Answers 202 with the place to look, or 409 where one is under way on every platform that was asked for.
    """
    body = body or SweepRequest()
    attempt = attempt_of(request, asker, key, body)
    with refusals_noted(service, attempt, body.platform):
        places = service.places(asker, Scope.SWEEP, body.platform)
        for place in places:
            unbound(place)
    if body.dry_run:
        planned: shapes.PlannedSweeps = {"plans": [service.sweeps.plan(place.platform) for place in places]}
        return JSONResponse(planned)
    started = _start_each(service, attempt, places, body)
    headers = {"Location": started["sweeps"][0]["place"]} if len(started["sweeps"]) == 1 else {}
    return JSONResponse(started, 202, headers=headers)


def _start_each(service: Service, attempt: Attempt, places: list[Place], body: SweepRequest) -> shapes.StartedSweeps:
    """Start a sweep on each platform; one that cannot be swept now does not stop the others.

    Raises:
        Problem: Nothing was started.
    """
    started: shapes.StartedSweeps = {"sweeps": [], "busy": [], "failed": {}}
    last: Problem | None = None
    for place in places:

        def _start(_: Platform, __: str, place: Place = place) -> Answered:
            return 202, service.sweeps.start(place.platform, place.token.name)

        try:
            fresh = service.place(attempt.asker, Scope.SWEEP, place.platform, fresh=True)
            _, state = once(service, attempt, fresh, body.model_dump(), _start)
        except (Problem, CampaignOpsError) as error:
            last = problem_of(error)
            if last.code == BUSY:
                started["busy"].append(place.platform)
            else:
                started["failed"][place.platform] = last.detail
        else:
            started["sweeps"].append(state)
    if last is not None and not started["sweeps"]:
        raise last
    return started


@router.get("/api/sweeps/{run_id}", response_model=shapes.SweepState, responses=problems(400, 404))
def sweep(
    request: Request,
    service: TheService,
    asker: TheAsker,
    run_id: Id,
    platform: Annotated[str, Query(max_length=31)],
) -> Response:
    """A sweep that was asked for: running, done, refused or failed; with its lines, while this service has them."""
    place = service.place(asker, Scope.READ, platform)
    unbound(place)
    return tagged_json(request, service.sweeps.state(place.platform, checked(run_id, "run_id")))


@router.post(
    "/api/plan/confirm",
    response_model=shapes.SweepState,
    responses=problems(400, 404, 409) | {202: {"model": shapes.SweepState, "description": "It takes longer."}},
)
def confirm(
    request: Request, service: TheService, asker: TheAsker, body: ConfirmRequest, key: Key = None
) -> JSONResponse:
    """Sweep once with the code of a plan: what the breaker holds back passes, as far as it is what was shown.

    Scope `confirm`. Waits for the sweep's end for a while, then answers 202 with the place to look.
    """
    attempt = attempt_of(request, asker, key, body)
    with refusals_noted(service, attempt, body.platform):
        places = service.places(asker, Scope.CONFIRM, body.platform)
        if len(places) > 1:
            raise Problem(400, "which_platform", "the token reaches several platforms", "name the platform")
        unbound(places[0])
        place = service.place(asker, Scope.CONFIRM, places[0].platform, fresh=True)

    def _confirm(_: Platform, __: str) -> Answered:
        if body.dry_run:
            planned = service.sweeps.plan(place.platform)
            return 200, {**_EMPTY, "platform": place.platform, "result": planned["plan"]}
        confirmation = Confirmation(body.code, place.token.name, body.reason)
        try:
            run = service.sweeps.run(place.platform, place.token.name, confirmation)
        except SweepBusy as error:
            raise Problem(409, BUSY, str(error), "nothing was done; the code is still good") from error
        run.ended.wait(CONFIRM_WAIT_SECONDS)
        if run.problem is not None:
            raise run.problem
        return (200 if run.ended.is_set() else 202), run.document

    status, document = once(service, attempt, place, body.model_dump(), _confirm)
    return JSONResponse(document, status)


_EMPTY: shapes.SweepState = {
    "platform": "",
    "run_id": "",
    "state": "planned",
    "by": "service",
    "started_at": None,
    "finished_at": None,
    "place": "/api/plan",
    "message": "dry run: nothing was changed",
    "result": None,
}
