"""The facts about a queue that its platform's database knows. Read when needed, so that no read must come first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from campaign_ops.core.ids import JobIds


class Facts(Protocol):
    """A source of these facts; the platform itself."""

    def job_ids(self) -> JobIds:
        """Return the rules by which its jobs' ids are compared with the database's, and written."""

    def sending_tenants(self) -> Collection[str]:
        """Return the tenants with a sending campaign: their queues are read where a name holds ``{tenant}``."""


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
