"""One look, or one whole sweep, in a process of its own: prints how much memory it took at most, in kB, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.policy import Policy
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.profile.load import load_profile
from campaign_ops.sweep import Sweep, dry_run


def peak_kilobytes() -> int:
    """The most that this program was resident; ``ru_maxrss`` would begin with what its parent was before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def main(url: str, queue_url: str, prefix: str, what: str) -> None:
    profile = load_profile("sms")
    assert profile.queue is not None
    policy = Policy(max_queue_depth=1_000_000, cooldown_seconds=0, breaker_floor=1_000_000, max_jobs_per_sweep=2_000)
    queue = Queue(QueueAddress(queue_url, prefix), profile.queue)
    platform = Platform("sms", profile, policy, Database(url, Timeouts(statement_seconds=120)), queue)
    if what == "dry_run":
        report = dry_run(platform)
    else:
        report = Sweep(platform, run_id="peak", trigger="test", actor="tests").run()
    platform.close()
    repairs = {line.kind.value: [line.planned, line.done, line.detail] for line in report.repairs}
    covered = sum(item.covered or 0 for item in report.stuck)
    sys.stdout.write(
        json.dumps({"peak": peak_kilobytes(), "repairs": repairs, "covered": covered, "trouble": report.trouble})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
