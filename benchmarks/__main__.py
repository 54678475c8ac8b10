"""The program: builds the data, measures, prints, compares with the goals. See ``python -m benchmarks --help``."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

REPEATED_SECONDS = 10
"""A sender often sends a signal twice (``timeout`` does), and the second must not interrupt the clean-up."""


class _Interruption:
    """Raises the first Ctrl-C or SIGTERM as KeyboardInterrupt and ignores those that follow soon after it."""

    def __init__(self) -> None:
        self.signal = 0
        self._ignored_until = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._received)

    def _received(self, number: int, _: FrameType | None) -> None:
        if time.monotonic() > self._ignored_until:
            self.signal, self._ignored_until = number, time.monotonic() + REPEATED_SECONDS
            raise KeyboardInterrupt


def main() -> None:
    """Measure, or profile one sweep.

    Exits with 1 and one line when it cannot go on, 2 for wrong options, 130 after Ctrl-C, 143 after SIGTERM.
    """
    interruption = _Interruption()
    try:
        # Only now: loading takes a second, and its interruption is one line, too.
        from benchmarks.options import arguments  # noqa: PLC0415
        from benchmarks.rounds import Disagreement  # noqa: PLC0415
        from benchmarks.suite import run_suite  # noqa: PLC0415
        from campaign_ops.core.errors import CampaignOpsError  # noqa: PLC0415

        try:
            run_suite(arguments())
        except (CampaignOpsError, Disagreement) as error:
            if not interruption.signal:
                sys.exit(f"error: {error}")
            raise
    except BaseException as error:
        # Whatever was raised: a child stopped half way and a server that shuts down have errors of their own.
        if not interruption.signal and not isinstance(error, KeyboardInterrupt):
            raise
        sys.stderr.write("interrupted\n")
        sys.exit(128 + (interruption.signal or signal.SIGINT))


if __name__ == "__main__":
    main()
