"""Entity tags: a page that polls gets 304 and no body while nothing has changed."""

from __future__ import annotations

import hashlib

from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response


def tagged(request: Request, answer: Response) -> Response:
    """The answer with its tag, or 304 where the client already has it."""
    tag = f'W/"{hashlib.sha256(bytes(answer.body)).hexdigest()[:24]}"'
    if tag in {known.strip() for known in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers={"ETag": tag})
    answer.headers["ETag"] = tag
    return answer


def tagged_json(request: Request, document: object) -> Response:
    """A JSON document with its tag."""
    return tagged(request, JSONResponse(document))


def tagged_html(request: Request, html: str) -> Response:
    """A page with its tag."""
    return tagged(request, HTMLResponse(html))
