"""The manual fixes: of a campaign, of a reservation, and the undo of a repair."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.common import (
    Code,
    Id,
    Key,
    Number,
    PlatformName,
    Reason,
    TheAsker,
    TheService,
    attempt_of,
    checked,
    one_platform,
    problems,
)
from campaign_ops.faces.http.fixes import ROUTES, FixOrder, carry_out
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import Service

router = APIRouter(tags=["Fix"])


class FixRequest(BaseModel):
    """A manual fix: first with ``dry_run``, then for real with the code that the dry run answered."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="Why, for the journal.")
    dry_run: bool = Field(default=False, description="Only answer whether and how it would be done, and its code.")
    confirm: Code = Field(default="", description="The code that the dry run answered; required without `dry_run`.")
    platform: str | None = Field(default=None, max_length=31, description="Needed where several platforms have the id.")
    tenant: str | None = Field(default=None, max_length=255, description="Refuse unless it belongs to this tenant.")


def _endpoint(name: str, path: str, summary: str) -> None:
    """An endpoint of a manual fix of a campaign."""

    def fix(
        request: Request,
        service: TheService,
        asker: TheAsker,
        campaign_id: Id,
        body: FixRequest,
        platform: PlatformName = None,
        key: Key = None,
    ) -> JSONResponse:
        return fixed(request, service, asker, name, campaign_id, body, platform, key)

    fix.__name__ = name.replace("-", "_")
    fix.__doc__ = f"{summary} Scope `{ROUTES[name].scope}`."
    router.post(path, response_model=shapes.FixAnswer, responses=problems(400, 404, 409, 413))(fix)


def fixed(
    request: Request,
    service: Service,
    asker: TheAsker,
    name: str,
    target: str,
    body: FixRequest,
    platform: str | None,
    key: str | None,
) -> JSONResponse:
    """Carry out a manual fix, and answer.

    Raises:
        Problem: 409 where the request contradicts itself.
    """
    if body.dry_run and body.confirm:
        raise Problem(409, "contradiction", "confirm: cannot be combined with dry_run", "leave one of them out")
    order = FixOrder(
        name,
        checked(target, "id"),
        body.reason,
        platform=one_platform(body.platform, platform),
        dry_run=body.dry_run,
        confirm=body.confirm,
        tenant=body.tenant,
    )
    status, document = carry_out(service, attempt_of(request, asker, key, body), order)
    return JSONResponse(document, status)


for _name, _summary in {
    "mark-complete": "Complete a campaign in which nothing is pending, and release the credits held for it.",
    "reenqueue": "Put a campaign's missing recipients back into the queue.",
    "retry-quarantined": "Let sweeps repair a quarantined or held campaign again.",
    "send-again": "Put a campaign's ambiguous recipients back into the queue, although they may get the message twice.",
    "take-as-sent": "Record a campaign's ambiguous recipients as sent, although they may have got nothing.",
}.items():
    _endpoint(_name, f"/api/campaigns/{{campaign_id:id}}/{_name}", _summary)


@router.post(
    "/api/reservations/{reservation_id:id}/release",
    response_model=shapes.FixAnswer,
    responses=problems(400, 404, 409, 413),
)
def release(
    request: Request,
    service: TheService,
    asker: TheAsker,
    reservation_id: Id,
    body: FixRequest,
    platform: PlatformName = None,
    key: Key = None,
) -> JSONResponse:
    """Release a reservation that is held for nothing. Scope `repair`."""
    return fixed(request, service, asker, "release", reservation_id, body, platform, key)


@router.post(
    "/api/repairs/{number}/undo",
    response_model=shapes.FixAnswer,
    responses=problems(400, 404, 409, 413),
)
def undo(
    request: Request,
    service: TheService,
    asker: TheAsker,
    number: Number,
    body: FixRequest,
    platform: PlatformName = None,
    key: Key = None,
) -> JSONResponse:
    """Undo one repair. Refused when the row has changed since. Scope `repair`."""
    return fixed(request, service, asker, "undo", str(number), body, platform, key)
