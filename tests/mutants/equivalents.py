"""Mutants that change nothing that a test could see, each with the reason; an entry that is no mutant is an error."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
