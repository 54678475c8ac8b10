"""Manual fixes as requests ask for them: tried out first, then made once with the code that this showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from campaign_ops.core.errors import CampaignOpsError, Refused
from campaign_ops.core.tokens import Scope
from campaign_ops.faces import shapes
from campaign_ops.faces.documents import campaign_document
from campaign_ops.faces.http.attempts import Answered, Attempt, once, refusals_noted
from campaign_ops.faces.http.problems import Problem, problem_of
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.faces.http.shapes import FixAnswer
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.table import FIXES
from campaign_ops.platform import Platform
from campaign_ops.queries.campaigns import campaign_detail
from campaign_ops.queries.owners import Subject


@dataclass(frozen=True)
class FixRoute:
    """What a manual fix is about, and the scope that it needs."""

    subject: Subject
    scope: Scope


ROUTES: Mapping[str, FixRoute] = {
    "mark-complete": FixRoute(Subject.CAMPAIGN, Scope.REPAIR),
    "reenqueue": FixRoute(Subject.CAMPAIGN, Scope.REPAIR),
    "retry-quarantined": FixRoute(Subject.CAMPAIGN, Scope.REPAIR),
    "release": FixRoute(Subject.RESERVATION, Scope.REPAIR),
    "undo": FixRoute(Subject.REPAIR, Scope.REPAIR),
    "send-again": FixRoute(Subject.CAMPAIGN, Scope.DECIDE),
    "take-as-sent": FixRoute(Subject.CAMPAIGN, Scope.DECIDE),
}
"""The fixes of `campaign_ops.fixes.table` that are offered over HTTP; ``bind`` belongs to a deployment."""


@dataclass(frozen=True)
class FixOrder:
    """One manual fix as it is asked for. Without ``confirm`` it is only tried out."""

    name: str
    target: str
    reason: str
    platform: str | None = None
    dry_run: bool = False
    confirm: str = ""
    tenant: str | None = None


def carry_out(service: Service, attempt: Attempt, order: FixOrder) -> Answered:
    """Make or try out a fix; every attempt is in the audit, also the refused ones.

    Returns:
        Status and body of the answer.

    Raises:
        Problem, CampaignOpsError: Nothing was changed.
    """
    with refusals_noted(service, attempt, order.platform):
        return _carry_out(service, attempt, order)


def _carry_out(service: Service, attempt: Attempt, order: FixOrder) -> Answered:
    route = ROUTES[order.name]
    place, owner = service.find(attempt.asker, route.scope, order.platform, route.subject, order.target)
    place = service.place(attempt.asker, route.scope, place.platform, fresh=True)
    tenant = owner.tenant if order.tenant is None and place.token.tenants is not None else order.tenant

    def _work(platform: Platform, run_id: str) -> Answered:
        target: Any = int(order.target) if route.subject is Subject.REPAIR else order.target
        person = Person(place.token.name, order.reason, run_id, trigger="http")
        call = FixCall(order.name, target, person, tenant)
        return 200, _answer(platform, place, order, call)

    return once(service, attempt, place, _content(order), _work)


def _answer(platform: Platform, place: Place, order: FixOrder, call: FixCall) -> FixAnswer:
    offer = None
    try:
        if order.confirm and not order.dry_run:
            fix = make_confirmed(platform, call, order.confirm)
        elif order.dry_run:
            fix, offer = try_out(platform, call)
        else:
            detail = f"{call.what}: for real it needs the code that its dry run shows"
            next_step = 'send it with "dry_run": true, then again with "confirm": the code'
            raise Problem(409, "confirmation_required", detail, next_step)
    except Refused as error:
        problem = problem_of(error)
        counts = _counts(platform, order)
        raise Problem(
            problem.status, problem.code, problem.detail, problem.next_step, more={"counts": counts} if counts else {}
        ) from error
    undoing = FIXES[order.name].undoing
    undo = None
    if fix.changed and fix.repair_ids and undoing.possible:
        undo = f"/api/repairs/{fix.repair_ids[0]}/undo?platform={place.platform}"
    return {
        "success": True,
        "message": fix.message,
        "platform": place.platform,
        "target": fix.target,
        "changed": fix.changed,
        "dry_run": order.dry_run,
        "repair_ids": list(fix.repair_ids),
        "consequence": f"it {undoing}",
        "undo": undo,
        "confirm": offer.code if offer is not None else None,
        "confirm_until": offer.expires_at.isoformat() if offer is not None else None,
        "campaign": _campaign(platform, order),
    }


def _campaign(platform: Platform, order: FixOrder) -> shapes.StatusCampaign | None:
    if ROUTES[order.name].subject is not Subject.CAMPAIGN:
        return None
    try:
        return campaign_document(campaign_detail(platform, order.target).line)
    except CampaignOpsError:
        return None  # the fix stands, whatever can be read afterwards


def _counts(platform: Platform, order: FixOrder) -> dict[str, int]:
    """The numbers that a refusal about a campaign rests on."""
    campaign = _campaign(platform, order)
    if campaign is None:
        return {}
    return {
        "total": campaign["total"],
        "sent": campaign["succeeded"],
        "failed": campaign["failed"],
        "pending": campaign["unsent"],
    }


def _content(order: FixOrder) -> dict[str, Any]:
    return {"name": order.name, "target": order.target, "reason": order.reason, "dry_run": order.dry_run} | {
        "confirm": order.confirm,
        "tenant": order.tenant,
    }
