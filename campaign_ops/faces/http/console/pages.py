"""What the pages share: who looks, forms that only our own pages can send, rendering, errors as pages."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from campaign_ops import __version__
from campaign_ops.core.console import campaign_path
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.tokens import Scope, Token
from campaign_ops.core.wording import duration, plural
from campaign_ops.faces.http.api.common import checked
from campaign_ops.faces.http.etags import tagged_html
from campaign_ops.faces.http.gate import Asker, Way
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.service import Place, Service, asker_of, service_of
from campaign_ops.faces.http.shapes import PlatformLine

HERE = Path(__file__).parent
FORM_COOKIE = "campaign_ops_form"
LONGEST_REASON = 500
MENU = (
    ("/", "Now"),
    ("/campaigns", "Campaigns"),
    ("/plan", "Plan"),
    ("/journal", "Journal"),
    ("/queue", "Queue"),
    ("/credits", "Credits"),
    ("/incidents", "Incidents"),
    ("/platforms", "Platforms"),
    ("/tokens", "Tokens"),
)


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page, and what they may do on which platform; ``unasked`` could not say whether it knows them."""

    request: Request
    service: Service
    asker: Asker
    tokens: Mapping[str, Token]
    unasked: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Their name, as the journal would have it."""
        return next(iter(self.tokens.values())).name

    def may(self, scope: str, platform: str) -> bool:
        """Return whether they may do something on a platform."""
        token = self.tokens.get(platform)
        return token is not None and token.may(Scope(scope))

    @property
    def platforms(self) -> list[str]:
        """The platforms that they may look at."""
        return sorted(name for name, token in self.tokens.items() if token.may(Scope.READ))

    def badge(self, line: PlatformLine) -> tuple[str, str]:
        """The state of a platform in a word, and the colour of its badge: ok while nothing needs a person.

        Who sees some tenants only learns nothing of the others' trouble, and so not that all is well.
        """
        name, status = line["platform"], line["status"]
        if status != "ok":
            return status, "bad"
        if name not in self.tokens or self.bound(name):
            return "swept", ""
        attention = self.service.health.pulses()[name].needs_attention
        return ("needs attention", "bad") if attention else ("ok", "good")

    def unwatched(self) -> list[str]:
        """The platforms whose incidents no watcher keeps up to date, with the question for it."""
        pulses = self.service.health.pulses()
        return [f"{name}: {pulses[name].unwatched}" for name in self.platforms if pulses[name].unwatched]

    def bound(self, platform: str) -> bool:
        """Return whether they see some tenants of a platform only."""
        token = self.tokens.get(platform)
        return token is not None and token.tenants is not None


def visitor_of(request: Request) -> Visitor:
    """Who looks at a page.

    Raises:
        Problem: 401, which becomes the way to the login; 503 where no database answers.
    """
    service, asker = service_of(request), asker_of(request)
    return Visitor(request, service, asker, *service.gate.reach(asker))


def render(visitor: Visitor, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page, with its tag; 304 where the visitor has it already."""
    key = visitor.request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
    html = _env.get_template(template).render(
        visitor=visitor, path=visitor.request.url.path, query=dict(visitor.request.query_params), form_key=key, **values
    )
    answer = tagged_html(visitor.request, html) if status == 200 else HTMLResponse(html, status)
    if FORM_COOKIE not in visitor.request.cookies:
        set_cookie(answer, visitor.request, FORM_COOKIE, key)
    return answer


def chosen(visitor: Visitor, platform: str) -> Place:
    """The platform of a page that is about one: the one that is named, else the first that the visitor may look at.

    Raises:
        Problem: 401, 403, 404 or 503, as `Service.places`.
    """
    if platform or not visitor.platforms:
        return visitor.service.places(visitor.asker, Scope.READ, platform or None)[0]
    return visitor.service.place(visitor.asker, Scope.READ, visitor.platforms[0])


def not_for_tenants(visitor: Visitor) -> Response:
    """The answer to a visitor who is bound to tenants, on a page that is about all of them."""
    detail = "this page is about all tenants, and your token is bound to some"
    problem = Problem(403, "forbidden", detail, "Campaigns, Journal, Credits and Incidents show what is yours")
    return render(visitor, "error.html", status=problem.status, problem=problem)


def reason_of(fields: Mapping[str, str]) -> str:
    """The reason that a person has given in a form.

    Raises:
        Problem: 422 for none, or one that the journal cannot keep.
    """
    reason = checked(fields.get("reason", "").strip(), "reason")
    if not reason or len(reason) > LONGEST_REASON:
        raise Problem(422, "invalid", f"say why, in at most {LONGEST_REASON} characters: the journal keeps it")
    return reason


def set_cookie(answer: Response, request: Request, name: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie that no script reads and no other site sends."""
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure, path="/")


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that one of our own pages has sent.

    Raises:
        Problem: 403 where it does not carry the key of the browser that shows it.
    """
    fields = {name: value for name, value in (await request.form(max_files=0)).items() if isinstance(value, str)}
    known = request.cookies.get(FORM_COOKIE, "")
    if not known or not hmac.compare_digest(known.encode(), fields.get("form_key", "").encode()):
        raise Problem(403, "old_form", "the form is too old, or comes from elsewhere", "go back, reload the page")
    return fields


def page_of_problem(request: Request, problem: Problem) -> Response:
    """A problem as a page; a visitor that is not known goes to the login."""
    if problem.status == 401 and request.method == "GET":
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/login?" + urlencode({"next": wanted}), 303)
    visitor = _visitor_unless_away(request) if problem.status < 500 else None
    if visitor is None:
        return page_for_strangers(request, problem)
    answer = render(visitor, "error.html", status=problem.status, problem=problem)
    answer.headers.update(problem.headers)
    return answer


def page_for_strangers(request: Request, problem: Problem) -> Response:
    """A problem as a page without a menu: it is not known who sent the request."""
    html = _env.get_template("error.html").render(problem=problem, visitor=None, path=request.url.path)
    return HTMLResponse(html, problem.status, headers=problem.headers)


def _visitor_unless_away(request: Request) -> Visitor | None:
    """Who met a problem, if that is known: for the menu."""
    try:
        return visitor_of(request)
    except (Problem, CampaignOpsError):
        return None


def anonymous(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page for a visitor that is not known yet."""
    key = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
    html = _env.get_template(template).render(visitor=None, path=request.url.path, form_key=key, **values)
    answer = HTMLResponse(html, status)
    set_cookie(answer, request, FORM_COOKIE, key)
    return answer


def fix_path(name: str, platform: str, target: object) -> str:
    """The page on which a manual fix begins."""
    return f"/fix/{name}?" + urlencode({"platform": platform, "target": target})


def _moment(value: datetime | str | None) -> Markup:
    """A moment in UTC, which a script completes with the reader's own time."""
    if value is None:
        return Markup("unknown")
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}")


def _since(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(int(seconds))


def _number(value: float | Decimal | str | None) -> str:
    if value is None:
        return "unknown"
    return f"{Decimal(value):,}" if isinstance(value, str) else f"{value:,}"


def _without(query: Mapping[str, str], *names: str, **more: str) -> str:
    """The same query with some parameters changed or left out."""
    kept = {name: value for name, value in query.items() if name not in names and name not in more and value}
    return urlencode(kept | more)


def _straight(value: Any) -> Any:
    """Foreign text with marks of direction as escapes, as on the command line: they turn around what comes after it."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _TURNING.sub(lambda mark: mark[0].encode("unicode_escape").decode(), value)


_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_env = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_straight,
    trim_blocks=True,
    lstrip_blocks=True,
)
_env.filters |= {"moment": _moment, "since": _since, "number": _number, "plural": plural}
_env.globals |= {
    "menu": MENU,
    "version": __version__,
    "campaign_path": campaign_path,
    "fix_path": fix_path,
    "without": _without,
    "way": Way,
}
