"""``campaign-ops watch`` with the times of a drill: minutes become seconds. Runs until SIGTERM.

    python -m campaign_ops.lab.drill.watcher --config watch.yaml

A cause that must last for minutes before it is an incident (a paused queue, no workers, a backlog) still must: a drill
does not wait for it, so an incident of one is a false one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from campaign_ops.core.incidents import Rules
from campaign_ops.faces.cli.watch import watch_of, watch_until_stopped
from campaign_ops.faces.logs import LogFormat, log_to_stderr
from campaign_ops.settings import load_settings
from campaign_ops.watch.notify import Limits
from campaign_ops.watch.watcher import Watcher

EVERY_SECONDS = 1.0
STALE_AFTER_SECONDS = 3
RULES = Rules(same_look_seconds=0.5)
LIMITS = Limits(messages_an_hour=10_000, first_retry_seconds=1.0)
"""A message that is folded into another cannot be matched with its row of the outbox."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Watch the platforms of the configuration until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m campaign_ops.lab.drill.watcher", description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    config: Path = parser.parse_args(arguments).config
    log_to_stderr(LogFormat.JSON)
    watch = replace(watch_of(load_settings(config)), stale_after_seconds=STALE_AFTER_SECONDS)
    watch_until_stopped(Watcher(watch, RULES, LIMITS), EVERY_SECONDS)


if __name__ == "__main__":
    main()
