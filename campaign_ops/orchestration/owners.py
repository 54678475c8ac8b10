"""Who owns an asset: the platform's contact, where Dagster takes it as one."""

from __future__ import annotations

import re

# Dagster refuses any other owner, and with it every definition of the platform.
_OWNER = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}|team:.+")


def owners(contact: str | None) -> list[str]:
    """The contact if it is a mail address or ``team:<name>``; else nobody."""
    return [contact] if contact is not None and _OWNER.fullmatch(contact) else []
