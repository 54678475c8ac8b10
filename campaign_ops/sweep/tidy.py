"""Tidy up after a sweep: delete rows that are not needed any more."""

from __future__ import annotations

import logging
from collections.abc import Callable

import sqlalchemy as sa

from campaign_ops.core.errors import StatementRejected, Unavailable
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform

log = logging.getLogger(__name__)


def tidy(platform: Platform, author: Author, *, any_suspects: bool) -> None:
    """Forget the suspects whose rows have moved, if there are any; once an hour, delete old rows."""
    if any_suspects:
        _apart(platform, lambda connection: platform.ambiguous.forget_moved(connection, platform.tables(connection)))
    if author.is_first_of_hour:
        _apart(platform, lambda connection: _prune(platform, connection))


def _prune(platform: Platform, connection: sa.Connection) -> None:
    days = platform.policy.history_days
    platform.sweeps.prune(connection, days)
    platform.queue_looks.prune(connection)
    platform.incidents.prune(connection, days)
    platform.outbox.prune(connection, days)
    platform.idempotency.prune(connection)
    platform.audit.prune(connection)


def _apart(platform: Platform, work: Callable[[sa.Connection], None]) -> None:
    """Work apart from the sweep's own writing: if it fails, a later sweep tries again."""
    try:
        with platform.database.transaction() as connection:
            work(connection)
    except (StatementRejected, Unavailable) as error:
        log.warning("%s: old rows were not pruned: %s", platform.name, error)
