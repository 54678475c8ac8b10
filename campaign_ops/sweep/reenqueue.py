"""Re-enqueue what nobody will send, within the limits. Never trusts the snapshot of an earlier step.

Which campaigns is decided from a look; `add_page` looks again before it adds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import ceil

from campaign_ops.bullmq.queue import Queue
from campaign_ops.bullmq.sample import misfit, sample_jobs
from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.model import Action, Decision, Evidence, RepairKind
from campaign_ops.core.plan import Plan, share_out
from campaign_ops.core.verdicts import decide
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.add_page import add_page
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.intend import Work, missing
from campaign_ops.sweep.look import Look, Observation, looking
from campaign_ops.sweep.orders import Orders
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.settle import settle_intents

log = logging.getLogger(__name__)
JOBS_PER_PAGE = 250
RECIPIENTS_PER_PAGE = 25_000


def reenqueue(
    platform: Platform,
    author: Author,
    plan: Plan,
    lock: SweepLock,
    *,
    orders: Callable[[Observation | None], Orders],
    look: Look | None = None,
) -> StepResult:
    """Put back the missing recipients of the planned campaigns that are still missing now.

    Args:
        platform: What to repair.
        author: Who does it, for the journal.
        plan: Which campaigns, and of how many recipients at most; their evidence is read anew.
        lock: The sweep lock, held.
        orders: Says what may be done by a look at all campaigns; by the plan's own for None.
        look: The look that the plan was made from, if it is going on still; without one all is looked at anew.
    """
    result = StepResult(RepairKind.REENQUEUE, planned=len(plan.of(RepairKind.REENQUEUE)))
    if platform.queue is None:
        return result
    if look is not None:
        if result.planned:
            _put_back(platform, author, lock, look, result, orders(None))
        return result
    try:
        result.settled = settle_intents(platform)
    except QueueUnavailable as error:
        result.held_back = str(error) if result.planned else None
        result.away = bool(result.planned)
        return result
    if result.planned:
        with looking(platform) as fresh:
            fresh.remember()
            _put_back(platform, author, lock, fresh, result, orders(fresh.observation))
    return result


def _put_back(
    platform: Platform, author: Author, lock: SweepLock, look: Look, result: StepResult, orders: Orders
) -> None:
    only = {item.target for item in orders.targets(RepairKind.REENQUEUE, result)}
    if not result.tripped:
        reenqueue_seen(platform, author, lock, look, result, only=only)


def reenqueue_seen(
    platform: Platform,
    author: Author,
    lock: SweepLock,
    look: Look,
    result: StepResult,
    *,
    only: Collection[str] | None = None,
) -> None:
    """Put back what the look shows to be missing, within the limits; ``result`` tells what became of it.

    Args:
        platform: What to repair.
        author: Who does it, for the journal.
        lock: The sweep lock, held.
        look: A look at these campaigns.
        result: Is filled.
        only: Campaigns of the look; None for all that should be re-enqueued.
    """
    observation, policy = look.observation, platform.policy
    problem = observation.queue.problem if observation.queue else "there is no queue"
    if problem or look.reading is None or look.completed is None or platform.queue is None:
        result.held_back = problem
        result.away = observation.queue is not None and observation.queue.away
        return
    chosen = {}
    for evidence in observation.evidence:
        decision = decide(evidence, observation.queue, policy, observation.at)
        key = evidence.campaign.id
        if decision.action is Action.REENQUEUE and (only is None or key in only):
            chosen[key] = (evidence, decision)
    depth = observation.queue.depth if observation.queue else 0
    budget = min(policy.max_jobs_per_sweep, max(policy.max_queue_depth - depth, 0))
    wanted = [(key, evidence.campaign.tenant, len(look.missing[key])) for key, (evidence, _) in chosen.items()]
    granted = share_out(wanted, budget)
    _count_left(result, chosen, {key: look.missing[key][:jobs] for key, jobs in granted.items()}, platform)
    if granted and not _profile_describes_jobs(platform.queue, result):
        return
    work = Work(platform, platform.queue, author, lock, look, look.reading, look.completed, chosen, result)
    for page in _pages(batch for key in granted for batch in look.missing[key][: granted[key]]):
        if not add_page(work, page):
            return


def _count_left(
    result: StepResult,
    chosen: Mapping[str, tuple[Evidence, Decision]],
    granted: Mapping[str, Sequence[OpenBatch]],
    platform: Platform,
) -> None:
    """Count what the limits leave to the next sweep."""
    size = platform.queue.profile.batch_size if platform.queue else 1
    for key, (evidence, _) in chosen.items():
        left = missing(evidence) - sum(batch.recipients for batch in granted.get(key, ()))
        if left > 0:
            result.deferred += key not in granted
            result.cut += key in granted
            result.left_recipients += left
            result.left_jobs += ceil(left / size)


def _profile_describes_jobs(queue: Queue, result: StepResult) -> bool:
    """Whether jobs made by the profile would be like the application's; else the repair is held back."""
    try:
        problem = misfit(sample_jobs(queue), queue.profile, numeric_ids=queue.ids.numeric)
    except QueueUnavailable as error:
        result.held_back, result.away = str(error), True
        return False
    if problem is not None:
        result.held_back = f"the profile does not describe the jobs of {queue.where}: {problem.what}; {problem.mend}"
    return problem is None


def _pages(batches: Iterable[OpenBatch]) -> Iterator[list[OpenBatch]]:
    """Batches that are added together: few enough for the second look to be fresh when the last of them is added."""
    page: list[OpenBatch] = []
    recipients = 0
    for batch in batches:
        if page and (len(page) == JOBS_PER_PAGE or recipients + batch.recipients > RECIPIENTS_PER_PAGE):
            yield page
            page, recipients = [], 0
        page.append(batch)
        recipients += batch.recipients
    if page:
        yield page
