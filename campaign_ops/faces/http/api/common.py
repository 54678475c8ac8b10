"""Parameters and answers that many endpoints share."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator, StringConstraints
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request

from campaign_ops.core.ids import LARGEST_NUMBER
from campaign_ops.core.wording import closest, is_unicode
from campaign_ops.faces.http.attempts import Attempt
from campaign_ops.faces.http.gate import Asker
from campaign_ops.faces.http.problems import MEDIA_TYPE, Problem
from campaign_ops.faces.http.service import Service, asker_of, service_of
from campaign_ops.faces.http.shapes import ProblemDocument

TheService = Annotated[Service, Depends(service_of)]
TheAsker = Annotated[Asker, Depends(asker_of)]
PlatformName = Annotated[str | None, Query(description="Only this platform.", max_length=31)]
Limit = Annotated[int, Query(description="The most entries of a page.", ge=1, le=500)]
Cursor = Annotated[str | None, Query(description="From `next` of the page before.", max_length=600)]
Id = Annotated[str, Path(max_length=255)]
"""Of the application, in a path as ``{…:id}``."""
Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A word of your own, new for every new request: sent again with it, a request is answered as the"
        " first time and carried out once.",
        max_length=200,
        pattern=r"^[!-~]+$",
    ),
]


class IdConvertor(StringConvertor):
    """Takes whatever is in the path: the application chooses its ids, and `%2F` arrives here as a slash."""

    regex = "(?s:.+)"


register_url_convertor("id", IdConvertor())


def _storable(text: str) -> str:
    if "\x00" in text or not is_unicode(text):
        raise ValueError("holds what no text holds")
    return text


Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(_storable)
]
Code = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40), AfterValidator(_storable)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, for OpenAPI."""
    meanings = {
        400: "Several platforms have one with that id: name the platform.",
        401: "No valid token.",
        403: "The token lacks the scope.",
        404: "There is no such thing, or it is not the token's to see.",
        409: "Refused: its premise does not hold, or a sweep is under way. Nothing was changed.",
        413: "The body is too large.",
        422: "The request cannot be understood.",
        429: "Too many requests.",
        503: "The database or the queue is away, or the platform is not set up.",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    every = sorted({401, 403, 422, 429, 503, *statuses})
    return {status: {"description": meanings[status], "content": content, "model": ProblemDocument} for status in every}


class Change(Protocol):
    """The body of a request for a change."""

    reason: str
    dry_run: bool


def attempt_of(request: Request, asker: Asker, key: str | None, body: Change) -> Attempt:
    """The request, for the audit."""
    return Attempt(asker, request.method, request.scope["path"], key or "", body.reason, body.dry_run)


def one_platform(body: str | None, query: str | None) -> str | None:
    """The platform that a request names, in its body or in its query.

    Raises:
        Problem: 409 where it names two: the fix was made on the body's.
    """
    if body is not None and query is not None and body != query:
        raise Problem(409, "contradiction", f"platform: is {body!r} in the body and {query!r} in the query", "name one")
    return body or query


def checked(text: str, place: str) -> str:
    """A word from a path or a query, if a database can hold it.

    Raises:
        Problem: 422 for a zero byte or half a surrogate pair.
    """
    if "\x00" in text or not is_unicode(text):
        raise Problem(422, "invalid", f"{place}: holds what no text holds", "take it out")
    return text


def only_known_parameters(request: Request) -> None:
    """Refuse a query that has a parameter which its endpoint does not take.

    Ignored, a filter shows everything, and a sweep of ``?platform=sms&dry_run=true`` swept every platform, really.

    Raises:
        Problem: 422, with the nearest parameter.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            nearest = closest(name, known)
            mend = f"did you mean {nearest}?" if nearest else "see /api/openapi.json"
            raise Problem(422, "invalid", f"query.{name[:100]}: this endpoint has no such parameter", mend)
