"""``workers``: the workers of each queue, their uptime and their restarts."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import RenderableType

from campaign_ops.core.wording import duration, plural
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, line
from campaign_ops.faces.documents import workers_document
from campaign_ops.queries.workers import workers as read_workers


@command(
    several=True,
    shape=shapes.WorkersResult,
    examples=["workers", "workers --platform sms --json"],
)
def workers(call: Call) -> Answer:
    """Show the workers of each queue: connected ones, their uptime, restarts.

    As the latest sweep, or the watcher, saw them in Redis' list of clients. A restart and a reconnect look the same
    there. Hosts that hide their clients show none: then the number is unknown, not 0.
    """
    read = read_workers(call.platform)
    result = workers_document(read)
    text: list[RenderableType] = [line(_summary(call.name, queue), style="bold") for queue in result["queues"]]
    if result["workers"]:
        head = ["worker", "queue", "address", "connected since (UTC)", "now"]
        text.append(Rows(head, [_row(worker) for worker in result["workers"]]))
    if not result["queues"]:
        why = "no sweep has looked at its queue yet" if call.settings.profile.queue else "it has no queue"
        text.append(line(f"{call.name}: no workers are known: {why}"))
    return Answer(result, text)


def _summary(platform: str, queue: shapes.QueueWorkers) -> str:
    if queue["workers"] is None:
        known = "workers unknown: the host hides its clients, or the queue was away"
    else:
        known = f"{plural(queue['workers'], 'worker')} connected"
    if queue["oldest_uptime_seconds"] is not None:
        known += f", the longest for {duration(int(queue['oldest_uptime_seconds']))}"
    restarts = f"{queue['restarts_last_hour']} restarted or reconnected in the last hour"
    return f"{platform}: queue {queue['queue']}: {known}; {restarts}; seen {_moment(queue['seen_at'])} UTC"


def _row(worker: shapes.Worker) -> list[object]:
    now = "connected" if worker["connected"] else f"gone since {_moment(worker['last_seen_at'])}"
    if worker["restarted"]:
        now += ", restarted"
    name = worker["name"] or f"client {worker['client_id']}"
    return [name, worker["queue"], worker["address"], _moment(worker["connected_at"]), now]


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
