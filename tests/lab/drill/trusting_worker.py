"""A worker that trusts its jobs: it sends to everybody in them without a look at the rows, as many applications do.

Whatever else would make such a worker send twice is kept from it: it dies at once instead of giving a job back.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from campaign_ops.lab.shop import worker
from campaign_ops.lab.shop.application import Application


class TrustingApplication(Application):
    """Knows of nobody that he has been sent to."""

    def unsent(self, campaign: str, recipient_ids: Sequence[str]) -> list[str]:
        """All of them."""
        return list(recipient_ids)

    def is_sending(self, campaign: str) -> bool:
        """Why else would there be a job?"""
        return True


def main() -> None:
    """Work until SIGTERM."""
    make = worker.make_worker

    def make_trusting(*arguments: Any, **options: Any) -> worker.ShopWorker:
        made = make(*arguments, **options)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
        return made

    # No completed job is kept: it would tell who was sent to, whatever the sweep's mistake.
    worker.__dict__.update(Application=TrustingApplication, make_worker=make_trusting, KEPT_JOBS=0)
    worker.main()


if __name__ == "__main__":
    main()
