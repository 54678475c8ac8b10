"""The faults by name. Each is injected for real, and its ``end`` repairs what it broke.

A new fault goes into the module of what it breaks and into ``FAULTS``; it needs a test in test_faults.py and a row in
docs/drill.md. Faults do not judge: whether the damage stayed within the rules is for the checkers.
"""

from __future__ import annotations

from campaign_ops.lab.drill.faults import data, database, deployment, queue, servers, watch, workers
from campaign_ops.lab.drill.faults.base import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS: dict[str, type[Fault]] = {
    kind.name: kind
    for kind in (
        workers.KillWorkerBeforeSend,
        workers.KillWorkerAfterSend,
        workers.KillWorkerAfterWrite,
        workers.HangWorker,
        deployment.KillSweeper,
        servers.RestartPostgres,
        servers.DropConnections,
        servers.HangRedis,
        servers.RedisEmpty,
        servers.RedisOldData,
        queue.PauseQueue,
        deployment.ClockSkew,
        database.TableLock,
        database.SerializationFailures,
        database.Deadlocks,
        deployment.BehindPgBouncer,
        database.DiskFullOnReport,
        deployment.PlatformDown,
        queue.Priorities,
        deployment.DuplicateTicks,
        queue.LoseJobs,
        queue.LoseAllButOne,
        queue.DoomJobs,
        data.LoseCompletion,
        data.LateChange,
        data.PoisonCampaign,
        data.UnknownWord,
        data.Unsendable,
        workers.RestartWorkers,
        watch.StopSweepers,
        watch.HangSweepers,
        watch.StopWatcher,
        watch.KillWatcherAfterSend,
    )
}
