"""Placeholders in a profile's texts. An unknown one would reach the workers unchanged, so it is refused."""

from __future__ import annotations

import re

from campaign_ops.core.wording import closest

_PLACEHOLDER = re.compile(r"\{\s*[A-Za-z_][A-Za-z0-9_.]*\s*\}")
_ALIASES = {"campaign": "{campaign_id}", "recipient": "{recipient_ids}", "contact": "{recipient_ids}"}


def check_placeholders(part: str, value: object, known: tuple[str, ...], *, whole: bool) -> None:
    """Raise ValueError at an unknown placeholder, at any depth.

    With ``whole``, also at one that is only a part of its text.
    """
    if isinstance(value, dict):
        for key, below in value.items():
            check_placeholders(f"{part}.{key}", below, known, whole=whole)
    elif isinstance(value, list):
        for below in value:
            check_placeholders(part, below, known, whole=whole)
    elif isinstance(value, str):
        for found in _PLACEHOLDER.findall(value):
            if found not in known:
                raise ValueError(f"{part}: nothing is put in for {found}{_instead(found, known)}")
            if whole and found != value:
                raise ValueError(f"{part}: {found} must be the whole value, not a part of {value!r}")


def _instead(found: str, known: tuple[str, ...]) -> str:
    if not known:
        return "; no placeholder can stand there"
    name = re.sub(r"[^a-z]", "", found.lower())
    nearest = closest(f"{{{name}}}", known, fold=lambda text: text.replace("_", ""), cutoff=0.7)
    # The owner of a campaign has as many names as there are applications: shop, organization, account …
    owner = ["{tenant}"] if name.endswith("id") and "{tenant}" in known else []
    alias = [placeholder for word, placeholder in _ALIASES.items() if word in name and placeholder in known]
    mend = nearest or next(iter([*alias, *owner]), "")
    return (f"; did you mean {mend}?" if mend else ";") + f" there are: {', '.join(known)}"
