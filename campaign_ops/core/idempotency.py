"""The answers to a request that comes with an idempotency key: it is carried out once, whatever is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Begun:
    """The key is new, or its first request died without an answer: carry the request out, then finish or abandon it."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """The same request has begun and has no answer yet."""

    started_at: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """The same request was answered with this HTTP status and body (JSON)."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used for another request, or by another token."""


Beginning = Begun | InProgress | Finished | Mismatch
