"""Errors as answers: ``application/problem+json`` (RFC 9457), one clear sentence, the numbers and the next step.

No answer holds a stack, a driver's error or a secret. What is not one of our own errors is logged with an incident
number, and the answer names that number alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from campaign_ops.core.errors import (
    CampaignOpsError,
    CommitUnknown,
    ConfigurationError,
    DatabaseTimeout,
    NotFound,
    PermissionMissing,
    ProfileMismatch,
    Refused,
    StatementRejected,
    StateSchemaError,
    SweepBusy,
    Unavailable,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 10
MAX_BODY_BYTES = 64 * 1024

_TITLES = {
    400: "Bad request",
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Refused",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Cannot be understood",
    429: "Too many requests",
    500: "Unexpected",
    503: "Not available now",
}


class Problem(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        code: One word for programs.
        detail: One sentence for people: what is wrong, and where.
        next_step: How to mend it; may be empty.
        more: Further members of the document, such as ``counts``.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        next_step: str = "",
        *,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.code, self.detail, self.next_step = status, code, detail, next_step
        self.more, self.headers = dict(more or {}), dict(headers or {})
        self.is_noted = False  # in the audit
        super().__init__(detail)

    @property
    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        title = _TITLES.get(self.status, "Error")
        document = {"type": "about:blank", "title": title, "status": self.status, "code": self.code}
        return document | {"detail": self.detail, "next": self.next_step} | self.more

    def answer(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.document, self.status, headers=self.headers, media_type=MEDIA_TYPE)


BUSY = "busy"

# The most particular first.
_STATUS: tuple[tuple[type[CampaignOpsError], int, str], ...] = (
    (NotFound, 404, "not_found"),
    (Refused, 409, "refused"),
    (StatementRejected, 409, "rejected"),
    (SweepBusy, 409, BUSY),
    (ConfigurationError, 503, "configuration_broken"),
    (ProfileMismatch, 503, "profile_mismatch"),
    (StateSchemaError, 503, "schema_missing"),
    (PermissionMissing, 503, "permission_missing"),
    (CommitUnknown, 503, "commit_unknown"),
    (DatabaseTimeout, 503, "timeout"),
    (Unavailable, 503, "unavailable"),
)


def problem_of(error: Exception) -> Problem:
    """The answer to an error, ours or not."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return of_validation(error)
    if isinstance(error, HTTPException):
        return of_http(error)
    if isinstance(error, CampaignOpsError):
        status, code = next((found[1:] for found in _STATUS if isinstance(error, found[0])), (500, "unexpected"))
        detail = f"{error.where}: {error.what}" if error.where else error.what
        again = isinstance(error, Unavailable) and not isinstance(error, CommitUnknown)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if again else {}
        return Problem(status, code, " ".join(detail.split()), error.mend, headers=headers)
    number = uuid4().hex[:12]
    log.error("unexpected error %s: %s", number, type(error).__name__, exc_info=error)
    return Problem(500, "unexpected", f"something unexpected happened; the log names it as {number}", "read the log")


def of_validation(error: RequestValidationError) -> Problem:
    """The answer to a request that does not fit its endpoint: every mistake with its place."""
    mistakes = []
    for mistake in error.errors():
        if mistake["type"] == "json_invalid":
            return _no_json(f": {mistake['ctx']['error']} at character {mistake['loc'][-1]}")
        place = ".".join(str(part) for part in mistake["loc"] if part != "body") or "body"
        mistakes.append(f"{place}: {mistake['msg'][:200]}")
    return Problem(422, "invalid", "; ".join(mistakes[:5]), "see /api/openapi.json")


def _no_json(why: str = "") -> Problem:
    return Problem(422, "invalid", f"body: is not JSON{why}", "see /api/openapi.json")


def of_http(error: HTTPException) -> Problem:
    """The answer to an error of the framework: no such path, no such method."""
    if error.status_code == 413:
        return too_large()
    if error.status_code == 400 and "parsing the body" in str(error.detail):  # another encoding, or nested too deeply
        return _no_json()
    codes = {404: "no_such_path", 405: "no_such_method"}
    code = codes.get(error.status_code, "error")
    detail = {404: "there is nothing at this path", 405: "this path does not take this method"}
    return Problem(
        error.status_code,
        code,
        detail.get(error.status_code, str(error.detail)),
        "see /api/openapi.json",
        headers=error.headers,
    )


def too_large() -> Problem:
    """The answer to a body that is too large."""
    return Problem(413, "too_large", f"a body may hold {MAX_BODY_BYTES // 1024} KiB", "send less")
