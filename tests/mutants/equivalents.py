"""Mutants that change nothing that a test could see, each with the reason; an entry that is no mutant is an error."""

from __future__ import annotations

_KEY = "only the keys of this table are read, never its values"

EQUIVALENT: dict[str, str] = {
    "bullmq/guarded_add.lua : found[canonical(value)] = true: true is false": _KEY,
    "bullmq/guarded_add.lua : if string.find(text, mention[1]) then found[mention[2]] = true end: true is false": _KEY,
    (
        "bullmq/guarded_add.lua : if told.deduplicationId then asides[told.deduplicationId] = true end: true is false"
    ): _KEY,
    "bullmq/guarded_add.lua : if name then asides[name] = true end: true is false": _KEY,
    (
        "bullmq/guarded_add.lua : if not clock.err and guard.deadline >= 0"
        " and clock[1] + clock[2] / 1000000 > gua: >= is >"
    ): "a deadline is a moment of this century, or -1",
    "postgres/completion.py recount: 0 is 1 (2)": (
        "a total of NULL counts as less than the rows, and where there is no row, no counter is behind the rows"
    ),
    "core/confirmation.py new_code: True is False": "the order of what is hashed together with a random secret",
    "core/confirmation.py new_code: 32 is 33": "a longer random secret",
    "core/ids.py TextIds.many: 1 is 2": "a text is split at all if there is a blank in it, at one or at two",
    "core/ids.py IntegerIds.many: -self._limit <= min(values): LtE is Lt": "the slow path spells the smallest id alike",
    "core/ids.py _all_canonical: set(map(len, values)) <= {36}: LtE is Lt": "the slow path spells UUIDs alike",
    "core/ids.py _all_canonical: 36 is 37": "the slow path spells UUIDs alike",
    "sweep/add_page.py Adder._add: break: removed": "the queue asks nothing when no job is to be added",
    "sweep/live_work.py LiveWork.now: self._queue is None or self._reading is None: Or is And": (
        "with a queue, only a work without campaigns has no reading, and it is asked about none"
    ),
    "sweep/writers.py wait_out: time.sleep(POLL_SECONDS): removed": "the same answers, asked for more often",
}
