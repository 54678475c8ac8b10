"""Manual fixes from the console: what it does → a reason → the dry run → the confirmation. The same pages for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from campaign_ops.core.console import campaign_path
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.http.api.common import checked
from campaign_ops.faces.http.attempts import Attempt
from campaign_ops.faces.http.console.pages import Visitor, fix_path, form_of, reason_of, render, visitor_of
from campaign_ops.faces.http.fixes import ROUTES, FixOrder, carry_out
from campaign_ops.faces.http.problems import Problem, problem_of
from campaign_ops.faces.http.shapes import FixAnswer
from campaign_ops.fixes.table import FIXES
from campaign_ops.queries.owners import Subject

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]


@dataclass(frozen=True)
class Offered:
    """A fix as the console offers it.

    Attributes:
        button: What the button says.
        consequence: What follows, in one sentence.
        grave: Whether it may reach recipients twice, or not at all.
    """

    button: str
    consequence: str
    grave: bool = False


OFFERED = {
    "mark-complete": Offered(
        "Complete it", "The campaign is marked as over, and the credits held for it are released. Nothing is sent."
    ),
    "reenqueue": Offered(
        "Put the missing recipients back", "Recipients that are in no job get new jobs, and workers send to them."
    ),
    "retry-quarantined": Offered("Let sweeps repair it again", "The quarantine or hold ends. Nothing is sent now."),
    "send-again": Offered(
        "Send to the ambiguous recipients again",
        "The provider may already have these messages: the recipients may get them twice.",
        grave=True,
    ),
    "take-as-sent": Offered(
        "Take the ambiguous recipients as sent",
        "They are recorded as sent, although they may have got nothing.",
        grave=True,
    ),
    "release": Offered("Release the credits", "The tenant has the credits back."),
    "undo": Offered("Undo it", "What the repair changed is put back, as far as nothing has changed it since."),
}


@router.get("/fix/{name}")
def begin(
    visitor: TheVisitor,
    name: str,
    platform: Annotated[str, Query(max_length=31)],
    target: Annotated[str, Query(max_length=255)],
) -> Response:
    """Say what a fix does, and ask why."""
    return _page(visitor, _known(name), platform, checked(target, "target"))


@router.post("/fix/{name}")
async def go_on(request: Request, name: str) -> Response:
    """Try a fix out, or make it with the code that this has shown."""
    fields = await form_of(request)
    return await run_in_threadpool(_go_on, request, _known(name), fields)


def _go_on(request: Request, name: str, fields: dict[str, str]) -> Response:
    visitor = visitor_of(request)
    target = checked(fields.get("target", ""), "target")
    platform, confirm = fields.get("platform", ""), checked(fields.get("confirm", ""), "confirm")
    try:
        reason = reason_of(fields)
    except Problem as problem:
        return _page(visitor, name, platform, target, problem=problem)
    order = FixOrder(name, target, reason, platform=platform, dry_run=not confirm, confirm=confirm)
    path = fix_path(name, platform, target)
    attempt = Attempt(visitor.asker, request.method, path, reason=reason, dry_run=order.dry_run)
    try:
        _, answer = carry_out(visitor.service, attempt, order)
    except (Problem, CampaignOpsError) as error:
        return _page(visitor, name, platform, target, reason=reason, problem=problem_of(error))
    if not confirm:
        return _page(visitor, name, platform, target, reason=reason, tried=answer)
    return RedirectResponse(_afterwards(name, answer), 303)


def _afterwards(name: str, answer: FixAnswer) -> str:
    """The page that shows what was done."""
    done = f"&done={answer['repair_ids'][0]}" if answer["repair_ids"] else ""
    if ROUTES[name].subject is Subject.CAMPAIGN:
        return campaign_path(answer["platform"], answer["target"]) + done
    return f"/journal?platform={answer['platform']}" + done


def _page(
    visitor: Visitor,
    name: str,
    platform: str,
    target: str,
    *,
    reason: str = "",
    tried: FixAnswer | None = None,
    problem: Problem | None = None,
) -> Response:
    subject = ROUTES[name].subject
    return render(
        visitor,
        "fix.html",
        status=200 if problem is None else problem.status,
        name=name,
        offered=OFFERED[name],
        undoing=str(FIXES[name].undoing),
        platform=platform,
        target=target,
        subject=subject,
        back=_back(subject, platform, target),
        allowed=visitor.may(ROUTES[name].scope, platform),
        scope=ROUTES[name].scope,
        reason=reason,
        tried=tried,
        problem=problem,
    )


def _back(subject: Subject, platform: str, target: str) -> str:
    """The page that led to a fix."""
    if subject is Subject.CAMPAIGN:
        return campaign_path(platform, target)
    page = "/credits" if subject is Subject.RESERVATION else "/journal"
    return f"{page}?{urlencode({'platform': platform})}"


def _known(name: str) -> str:
    if name not in OFFERED:
        raise Problem(404, "no_such_path", f"there is no fix {name!r}", "go back to the campaign")
    return name
