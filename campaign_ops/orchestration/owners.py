"""The owner of an asset: the platform's contact, if Dagster accepts it."""

from __future__ import annotations

import re

# With any other owner Dagster refuses every definition of the platform.
_OWNER = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}|team:.+")


def owners(contact: str | None) -> list[str]:
    """The contact if it is a mail address or ``team:<name>``, else no owner."""
    return [contact] if contact is not None and _OWNER.fullmatch(contact) else []
