"""Asks a process of ours on this machine whether it is alive: ``python -m campaign_ops.faces.probe WHERE [SECONDS]``.

For health checks of container engines and Kubernetes. Standard library only: the command line takes 1.2 s of CPU to
load, a twentieth of a core at a check every 30 s.
"""

from __future__ import annotations

import http.client
import sys
import time
import urllib.request
from pathlib import Path

USAGE = "usage: python -m campaign_ops.faces.probe URL-OR-HEARTBEAT-FILE [SECONDS]"


def trouble(where: str, seconds: float) -> str:
    """Return what is wrong, or nothing.

    Args:
        where: The address of ``serve``, which must answer within ``seconds``; or the heartbeat file of ``watch``, which
            must have been touched within them.
        seconds: The limit.
    """
    try:
        if where.startswith(("http://", "https://")):
            with urllib.request.urlopen(where, timeout=seconds):  # noqa: S310 - the check itself names the address
                return ""
        age = time.time() - Path(where).stat().st_mtime
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{where}: {error}"
    return f"{where}: touched {age:.0f} s ago" if age > seconds else ""


def main(words: list[str]) -> int:
    """Print what is wrong, and return the exit code: 0 alive, 1 not, 2 wrong command line."""
    try:
        where, seconds = words[0], float(words[1]) if words[1:] else 180.0
    except (IndexError, ValueError):
        print(USAGE, file=sys.stderr)  # noqa: T201 - a program
        return 2
    problem = trouble(where, seconds)
    if problem:
        print(problem, file=sys.stderr)  # noqa: T201 - a program
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
