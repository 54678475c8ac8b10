"""Re-enqueue the recipients that no job will send to, within the limits. Never trusts the snapshot of an earlier step.

A look decides which campaigns get jobs; `add_page` looks again before it adds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import ceil

from campaign_ops.bullmq.queue import Queue
from campaign_ops.bullmq.sample import misfit, sample_jobs
from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.fair_share import share_out
from campaign_ops.core.model import Action, RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.verdicts import decide
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.add_page import Adder
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.intents import Intents, Judged
from campaign_ops.sweep.look import Look, Observation, looking
from campaign_ops.sweep.orders import Orders
from campaign_ops.sweep.progress import doing
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.settle import settle_intents

JOBS_PER_PAGE = 250
RECIPIENTS_PER_PAGE = 40_000


def reenqueue(
    platform: Platform, author: Author, lock: SweepLock, plan: Plan, judge: Callable[[Observation], Orders]
) -> StepResult:
    """Look again, and put back the missing recipients of the planned campaigns that are still missing.

    Args:
        platform: The platform to repair.
        author: Who does it, for the journal.
        lock: The sweep lock, held.
        plan: The campaigns, and how many of their recipients at most.
        judge: Gives the orders that a look at all campaigns leads to.
    """
    result = StepResult(RepairKind.REENQUEUE, planned=len(plan.of(RepairKind.REENQUEUE)))
    if platform.queue is None:
        return result
    try:
        result.settled = settle_intents(platform)
    except QueueUnavailable as error:
        result.held_back = str(error) if result.planned else None
        result.away = bool(result.planned)
        return result
    if result.planned:
        with looking(platform) as look:
            look.remember()
            _put_back_ordered(look, author, lock, judge(look.observation), result)
    return result


def reenqueue_from(look: Look, author: Author, lock: SweepLock, orders: Orders) -> StepResult:
    """Put back the missing recipients of the planned campaigns, from the look that the plan was made from."""
    result = StepResult(RepairKind.REENQUEUE, planned=len(orders.planned.of(RepairKind.REENQUEUE)))
    if result.planned:
        _put_back_ordered(look, author, lock, orders, result)
    return result


def _put_back_ordered(look: Look, author: Author, lock: SweepLock, orders: Orders, result: StepResult) -> None:
    only = {item.target for item in orders.targets(RepairKind.REENQUEUE, result)}
    if not result.tripped:
        put_back(look, author, lock, result, only=only)


def put_back(
    look: Look, author: Author, lock: SweepLock, result: StepResult, *, only: Collection[str] | None = None
) -> None:
    """Put back what the look shows to be missing, within the limits.

    Args:
        look: A look at these campaigns, still open.
        author: Who does it, for the journal.
        lock: The sweep lock, held.
        result: Counts what is done, and says why nothing is.
        only: Campaigns of the look; None for all that should be re-enqueued.
    """
    platform, policy, state = look.platform, look.platform.policy, look.observation.queue
    queue, reading = platform.queue, look.reading
    if queue is None or reading is None or state is None or state.problem:
        result.held_back = state.problem if state is not None else "there is no queue"
        result.away = state is not None and state.away
        return
    judged = {key: case for key, case in _to_be_put_back(look) if only is None or key in only}
    budget = min(policy.max_jobs_per_sweep, max(policy.max_queue_depth - state.depth, 0))
    wanted = [(key, case.evidence.campaign.tenant, len(look.missing[key])) for key, case in judged.items()]
    granted = {key: look.missing[key][:jobs] for key, jobs in share_out(wanted, budget).items()}
    _count_left(result, judged, granted, queue.profile.batch_size)
    if granted and not _profile_describes_jobs(queue, result):
        return
    intents = Intents(platform, author, judged, reading.snapshot.live.keys())
    adder = Adder(look, lock, intents, result)
    batches = [batch for batches in granted.values() for batch in batches]
    done = 0
    for page in _pages(batches):
        doing(platform.name, "putting jobs back into the queue", done, len(batches))
        done += len(page)
        if not adder.add_page(page):
            return


def _to_be_put_back(look: Look) -> Iterator[tuple[str, Judged]]:
    """The campaigns of a look that should be re-enqueued, by their id."""
    observation = look.observation
    for evidence in observation.evidence:
        decision = decide(evidence, observation.queue, look.platform.policy, observation.at)
        if decision.action is Action.REENQUEUE:
            yield evidence.campaign.id, Judged(evidence, decision)


def _count_left(
    result: StepResult, judged: Mapping[str, Judged], granted: Mapping[str, Sequence[OpenBatch]], batch_size: int
) -> None:
    """Count what the limits leave to the next sweep."""
    for key, case in judged.items():
        left = case.missing - sum(batch.recipients for batch in granted.get(key, ()))
        if left > 0:
            result.deferred += key not in granted
            result.cut += key in granted
            result.left_recipients += left
            result.left_jobs += ceil(left / batch_size)


def _profile_describes_jobs(queue: Queue, result: StepResult) -> bool:
    """Return whether jobs made by the profile would be like the application's; else hold the repair back."""
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
