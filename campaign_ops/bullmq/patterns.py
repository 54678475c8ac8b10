"""Redis' glob patterns, of SCAN and of ACL rules."""

from __future__ import annotations

import re


def literal(text: str) -> str:
    """Escape a text for a pattern."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def pattern_of(template: str, placeholder: str) -> str:
    """Return the pattern of a template in which any text may take the placeholder's place."""
    return "*".join(map(literal, template.split(placeholder)))
