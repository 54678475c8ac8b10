"""Several queues of one platform as one reading: what is true of all of them together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from campaign_ops.core.model import QueueState


def together(name: str, put_back: str, parts: Sequence[QueueState]) -> QueueState:
    """One reading of several queues.

    Nothing may be acted on where one of them has a problem: nobody knows whom its jobs cover. They are paused together
    only if all are, and how many workers there are is known only where all of them tell. Where no tenant sends there
    are no queues, and nothing is amiss.

    Args:
        name: What to call them together.
        put_back: The name of the one that batches are put back into, perhaps with ``{tenant}``.
        parts: Their states, of one moment.
    """
    workers = [part.workers for part in parts]
    problems = [f"queue {part.name}: {part.problem}" for part in parts if part.problem]
    counts: Counter[str] = Counter()
    unclear: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
        unclear.update(part.unclear_jobs)
    return QueueState(
        name,
        counts=dict(counts),
        paused=bool(parts) and all(part.paused for part in parts),
        workers=None if None in workers or not parts else sum(number or 0 for number in workers),
        version=next((part.version for part in parts if part.version), None),
        server_id=next((part.server_id for part in parts if part.server_id), None),
        exists=not parts or any(part.exists for part in parts),
        job_counter=sum(part.job_counter for part in parts),
        orphans=sum(part.orphans for part in parts),
        unclear_jobs=dict(unclear),
        foreign_jobs=sum(part.foreign_jobs for part in parts),
        doomed_jobs=sum(part.doomed_jobs for part in parts),
        problem="; ".join(problems) or None,
        away=any(part.away for part in parts),
        put_back=put_back,
        parts=tuple(parts),
    )
