"""Queue and workers: what waits where, who works on it, and since when. What is not known is shown as unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.http.console.pages import Visitor, chosen, not_for_tenants, render, visitor_of
from campaign_ops.queries.queues import Queues, queues

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

STATES = ("wait", "paused", "prioritized", "active", "delayed", "waiting-children", "failed", "completed")


@dataclass(frozen=True)
class PlatformQueues:
    """The queues of one platform; ``note`` says why there are none, ``error`` why they are not known."""

    platform: str
    seen: Queues | None = None
    note: str = ""
    error: str = ""


@router.get("/queue")
def queue(visitor: TheVisitor) -> Response:
    """Show the queues of every platform, as sweeps and the watcher saw them."""
    names = [name for name in visitor.platforms if not visitor.bound(name)]
    if not names:
        chosen(visitor, "")
        return not_for_tenants(visitor)
    return render(visitor, "queue.html", platforms=[_queues(visitor, name) for name in names], states=STATES)


def _queues(visitor: Visitor, name: str) -> PlatformQueues:
    settings = visitor.service.settings.find(name)
    if settings is not None and settings.profile.queue is None:
        return PlatformQueues(name, note="It has no queue: the application sends in its own process.")
    try:
        with visitor.service.pool.reading(name) as connected:
            seen = queues(connected)
    except CampaignOpsError as error:
        return PlatformQueues(name, error=str(error))
    return PlatformQueues(name, seen, note="" if seen.queues else "No sweep has looked at its queue yet.")
