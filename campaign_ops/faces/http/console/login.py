"""The session: a person logs in with a token, which their browser then sends as a cookie."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from campaign_ops.core.tokens import parse
from campaign_ops.faces.http.console.pages import anonymous, form_of, set_cookie
from campaign_ops.faces.http.gate import COOKIE, Asker, Way
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import service_of

router = APIRouter(include_in_schema=False)

SESSION_SECONDS = 12 * 3600
"""A shift. The token itself may end, or be revoked, before."""


@router.get("/login")
def login_page(request: Request, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Ask for a token."""
    return anonymous(request, "login.html", next=_ours(wanted), problem=None)


@router.post("/login")
async def login(request: Request) -> Response:
    """Begin a session, if a platform knows the token."""
    fields = await form_of(request)
    text, wanted = fields.get("token", "").strip(), _ours(fields.get("next", "/"))
    problem: Problem | None = Problem(401, "unauthorized", "that is no token of ours", "it begins with ops_")
    if parse(text) is not None:
        address = request.client.host if request.client is not None else ""
        gate, asker = service_of(request).gate, Asker(Way.SESSION, address, secret=text)
        try:
            await run_in_threadpool(lambda: list(gate.everywhere(asker)))
            problem = None
        except Problem as error:
            problem = error
    if problem is not None:
        return anonymous(request, "login.html", status=problem.status, next=wanted, problem=problem)
    answer = RedirectResponse(wanted, 303)
    set_cookie(answer, request, COOKIE, text, SESSION_SECONDS)
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session."""
    await form_of(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _ours(path: str) -> str:
    """A path of this service; the start page for anything that leads elsewhere."""
    parts = urlsplit(path)
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return path if is_ours else "/"
