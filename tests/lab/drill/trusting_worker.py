"""A worker that trusts its jobs: it sends to all their recipients without reading the rows, as many applications do.

Other causes of double sends are excluded: it exits at once instead of returning a job to the queue.
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
    """Treats all recipients as not sent to."""

    def unsent(self, campaign: str, recipient_ids: Sequence[str]) -> list[str]:
        """All of the job's recipients."""
        return list(recipient_ids)

    def is_sending(self, campaign: str) -> bool:
        """True: it takes the existence of the job as proof."""
        return True


def main() -> None:
    """Work until SIGTERM."""
    make = worker.make_worker

    def make_trusting(*arguments: Any, **options: Any) -> worker.ShopWorker:
        made = make(*arguments, **options)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
        return made

    # No completed job is kept: it would show which recipients were sent to, and so hide the sweep's mistake.
    worker.__dict__.update(Application=TrustingApplication, make_worker=make_trusting, KEPT_JOBS=0)
    worker.main()


if __name__ == "__main__":
    main()
