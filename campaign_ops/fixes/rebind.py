"""Bind a campaign table to this configuration, when its queues or its Redis have really moved."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound, Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.core.wording import plural
from campaign_ops.fixes.fix import Fix, Person, author_of, locked
from campaign_ops.journal import binding
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.migrations import check_current
from campaign_ops.platform import Platform


def rebind(platform: Platform, table: str, person: Person, *, tenant: str | None = None, dry_run: bool = False) -> Fix:
    """Bind the campaign table to this configuration's name, Redis and queues, whatever it was bound to.

    Args:
        platform: The platform with the campaign table.
        table: The campaign table, as `Profile.tables_key` names it: repeated to make sure that it is the right one.
        person: The person who asks.
        tenant: Always refused: this is not one tenant's decision.
        dry_run: Only return what would be done.

    Raises:
        NotFound: This platform has another campaign table.
        Refused: A queue that would no longer be read still has jobs, as far as this Redis shows it.
    """
    if table != (known := platform.profile.tables_key) or tenant is not None:
        raise NotFound("it is not this platform's campaign table", where=f"table {table}", mend=f"that is {known}")
    with locked(platform):
        return platform.database.run(lambda connection: _rebind(platform, connection, person, dry_run=dry_run))


def _rebind(platform: Platform, connection: sa.Connection, person: Person, *, dry_run: bool) -> Fix:
    check_current(connection, platform.database.where)
    catalog = platform.tables(connection).catalog
    claim = platform.claim(catalog)
    bound = binding.bound_to(connection, claim)
    redis = [claim.redis] if claim.redis is not None else []
    _check_empty(platform, sorted({*(bound.queues if bound else ())} - {*claim.queues}))
    now = f"to platform {claim.platform}, {_jobs_in(claim.queues, redis)}"
    was = f" (was {bound.platform}, {_jobs_in(bound.queues, bound.redis)})" if bound else ""
    if dry_run:
        return Fix(claim.tables, False, f"would bind campaign table {claim.tables} {now}{was}")
    if ours := platform.journal.made(connection, person.run_id, RepairKind.BIND, claim.tables):
        return Fix(claim.tables, True, f"bound campaign table {claim.tables} {now}", tuple(ours))  # its answer was lost
    binding.adopt(connection, claim, platform.answers(connection, catalog))
    binding.write(connection, claim, redis, by=person.name)
    entry = Entry(
        RepairKind.BIND,
        claim.tables,
        None,
        None,
        f"bound {now}{was}",
        before={"queues": list(bound.queues), "redis": list(bound.redis)} if bound else None,
        after={"queues": list(claim.queues), "redis": redis},
    )
    repair_ids = platform.journal.record(connection, author_of(platform, connection, person), [entry])
    return Fix(claim.tables, True, f"bound campaign table {claim.tables} {now}{was}", tuple(repair_ids))


def _check_empty(platform: Platform, dropped: list[str]) -> None:
    tenants = platform.sending_tenants() if any("{tenant}" in queue for queue in dropped) else []
    names = [queue.replace("{tenant}", tenant) for queue in dropped for tenant in tenants or [""]]
    for queue in dict.fromkeys(names):
        live = platform.queue.live_elsewhere(queue) if platform.queue is not None else 0
        if live:
            raise Refused(
                f"{plural(live, 'live job')} in queue {queue}: this configuration would re-enqueue their recipients",
                where=platform.name,
                mend="keep that queue in the profile until it is empty",
            )


def _jobs_in(queues: Sequence[str], redis: Sequence[str]) -> str:
    return f"jobs in {', '.join(queues)} on Redis {', '.join(redis)}" if queues else "no queue"
