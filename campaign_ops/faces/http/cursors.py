"""Cursors: where a list goes on, as one opaque word in the path of the next page."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import urlencode

from campaign_ops.core.wording import is_unicode
from campaign_ops.faces.http.problems import Problem


def cursor_of(*position: int | str) -> str:
    """Write a position."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def position_of(cursor: str, *kinds: type) -> list[int | str]:
    """Read a position.

    Args:
        cursor: What `cursor_of` has written.
        kinds: The types of its parts.

    Raises:
        Problem: 409 for anything else.
    """
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds) or not all(map(_fits, parts)):
        raise Problem(409, "no_cursor", "cursor: is not one that this service gave", "ask for the first page again")
    return parts


def _fits(part: int | str) -> bool:
    """Return whether a database can hold it: no zero byte, no half of a surrogate pair, 64 bits."""
    return is_unicode(part) and "\x00" not in part if isinstance(part, str) else abs(part) < 2**63


def next_page(path: str, cursor: str, **query: object) -> str:
    """The path of the next page: the same query, from the cursor on."""
    kept = {key: value for key, value in query.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(kept | {'cursor': cursor})}"
