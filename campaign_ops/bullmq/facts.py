"""What a platform's database says about its queue. Asked when it is needed, so no read has to come first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from campaign_ops.core.ids import JobIds


class Facts(Protocol):
    """The answers a platform gives about its own queue."""

    def job_ids(self) -> JobIds:
        """How its jobs' ids are compared with the database's, and written."""

    def sending_tenants(self) -> Collection[str]:
        """The tenants with a campaign that is being sent: the queues to read where a name holds ``{tenant}``."""


@dataclass(frozen=True)
class FixedFacts:
    """The facts of a queue without a database."""

    ids: JobIds = field(default_factory=JobIds)

    def job_ids(self) -> JobIds:
        """See `Facts`."""
        return self.ids

    def sending_tenants(self) -> Collection[str]:
        """See `Facts`."""
        return ()
