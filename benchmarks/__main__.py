"""Builds the data, measures, prints, compares with the goals. ``python -m benchmarks --help`` says how."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

REPEATED_SECONDS = 10
"""Who sends a signal often sends it twice (``timeout`` does), and the second must not break off the cleaning up."""


class _Interruption:
    """The first Ctrl-C or SIGTERM, raised as KeyboardInterrupt; what follows soon after it is not heard."""

    def __init__(self) -> None:
        self.signal = 0
        self._deaf_until = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def _heard(self, number: int, _: FrameType | None) -> None:
        if time.monotonic() > self._deaf_until:
            self.signal, self._deaf_until = number, time.monotonic() + REPEATED_SECONDS
            raise KeyboardInterrupt


def main() -> None:
    """Measure, or take one sweep apart.

    Exits with 1 and one line when it cannot go on, 2 when it was asked for nonsense, 130 after Ctrl-C,
    143 after SIGTERM.
    """
    interruption = _Interruption()
    try:
        # Only now: loading takes a second, and an interruption of that is one line, too.
        from benchmarks.options import arguments  # noqa: PLC0415
        from benchmarks.rounds import Disagreement  # noqa: PLC0415
        from benchmarks.run import run  # noqa: PLC0415
        from campaign_ops.core.errors import CampaignOpsError  # noqa: PLC0415

        try:
            run(arguments())
        except (CampaignOpsError, Disagreement) as error:
            if not interruption.signal:
                sys.exit(f"error: {error}")
            raise
    except BaseException as error:
        # Whatever came of it: a child stopped half way and a server that goes down have errors of their own.
        if not interruption.signal and not isinstance(error, KeyboardInterrupt):
            raise
        sys.stderr.write("interrupted\n")
        sys.exit(128 + (interruption.signal or signal.SIGINT))


if __name__ == "__main__":
    main()
