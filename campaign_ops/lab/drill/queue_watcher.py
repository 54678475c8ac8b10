"""Samples the live jobs continuously from its own process and records them. Writes nothing to the queue.

    python -m campaign_ops.lab.drill.queue_watcher --queue-url … --prefix bull --queue sms-send \
        --recipients-key recipientIds \
        --campaign-key campaignId --out watched.jsonl

Each sample reads all live jobs of all queues in one atomic script, and then the queues' event streams. Of several
queues, the ids of jobs that are not ours begin with the queue's name, since each counts its own. Results are appended
to a file, one JSON object per line, so that a kill loses nothing. While Redis is unavailable it retries.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import redis

from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.queues import queue_names

OURS = "ops-"
UNCLEAR_KEY = "campaign"
"""The key under which the application's jobs of another kind name a campaign whose recipients they list somehow."""
LOOK_EVERY_SECONDS = 0.02
SAMPLE_EVERY_SECONDS = 1.0

# All live jobs with their data, atomically.
_LIVE_JOBS = """
local jobs = {}
for number, base in ipairs(KEYS) do
    local function take(ids)
        for _, id in ipairs(ids) do
            local data = redis.call('HGET', base .. id, 'data')
            if data then
                jobs[#jobs + 1] = number
                jobs[#jobs + 1] = id
                jobs[#jobs + 1] = data
            end
        end
    end
    for _, state in ipairs({'wait', 'paused', 'active'}) do take(redis.call('LRANGE', base .. state, 0, -1)) end
    for _, state in ipairs({'prioritized', 'delayed', 'waiting-children'}) do
        take(redis.call('ZRANGE', base .. state, 0, -1))
    end
end
return jobs
"""


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A job of ours, when it was first seen. Its content is unknown if it was gone, and not kept, when it was read."""

    at: float
    campaign_id: str | None = None
    recipient_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Doubled:
    """A recipient seen in several live jobs at once; the one added last, ``job_ids[-1]``, is ours."""

    at: float
    recipient_id: str
    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Completed:
    """A job that a worker has completed, and that the queue kept."""

    at: float
    job_id: str
    campaign_id: str | None
    recipient_ids: frozenset[str]


@dataclass
class Watched:
    """The queue watcher's observations. Times are seconds since 1970.

    Attributes:
        looks: Number of samples of all live jobs.
        until: Time of the last sample.
        jobs: Every job of ours, by its id.
        doubled: Recipients in several live jobs.
        depth: (time, number of live jobs), about once a second.
        completed: Every job that was completed, in order.
        added: The number of jobs that were added to each queue, by the queue's name.
        names: The number of jobs that were added with each name.
        busy: Of each campaign, the times during which every sample showed a live job of it: begin to end.
        unclear: The same for live jobs of another kind that name it.
    """

    looks: int = 0
    until: float = 0.0
    jobs: dict[str, SeenJob] = field(default_factory=dict)
    doubled: list[Doubled] = field(default_factory=list)
    depth: list[tuple[float, int]] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)
    added: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    busy: dict[str, dict[float, float]] = field(default_factory=lambda: defaultdict(dict))
    unclear: dict[str, dict[float, float]] = field(default_factory=lambda: defaultdict(dict))


def read_watched(path: Path) -> Watched:
    """Read what a watcher has written so far; empty if there is no file."""
    watched = Watched()
    if not path.exists():
        return watched
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # killed in the middle of a line
        _add(watched, row)
    return watched


def _add(watched: Watched, row: Mapping[str, Any]) -> None:
    match row["kind"]:
        case "job":
            known = watched.jobs.get(row["id"])
            at = row["at"] if known is None else known.at
            recipients = None if row["recipients"] is None else tuple(row["recipients"])
            watched.jobs[row["id"]] = SeenJob(at, row["campaign"], recipients)
        case "completed":
            watched.completed.append(Completed(row["at"], row["id"], row["campaign"], frozenset(row["recipients"])))
        case "busy":
            watched.busy[row["campaign"]][row["since"]] = row["at"]
        case "unclear":
            watched.unclear[row["campaign"]][row["since"]] = row["at"]
        case "double":
            watched.doubled.append(Doubled(row["at"], row["recipient"], tuple(row["jobs"])))
        case "sample":
            # A restarted watcher appends to the same file and counts from zero.
            watched.looks += row["looks"]
            watched.until = row["at"]
            watched.added.update(row["added"])
            watched.names.update(row["names"])
            watched.depth.append((row["at"], row["live"]))


def command(queue: ShopQueue, out: Path) -> list[str]:
    """The command line of a watcher for this queue, or for all queues of a profile with several. SIGTERM ends it."""
    options = {
        "--queue-url": queue.url,
        "--prefix": queue.prefix,
        "--recipients-key": queue.profile.recipients_key,
        "--campaign-key": queue.profile.campaign_key,
        "--out": str(out),
    }
    return [
        sys.executable,
        "-m",
        "campaign_ops.lab.drill.queue_watcher",
        *(word for pair in options.items() for word in pair),
        *(f"--queue={name}" for name in queue_names(queue.profile)),
    ]


class QueueWatcher:
    """Samples the queues and writes what is new.

    Args:
        client: Redis, decoding responses.
        bases: Prefixes of each queue's keys, such as ``bull:sms-send:``.
        recipients_key: The payload's key for the recipients.
        campaign_key: The payload's key for the campaign.
        out: The file it writes to.
    """

    def __init__(
        self, client: redis.Redis, bases: Sequence[str], recipients_key: str, campaign_key: str, out: TextIO
    ) -> None:
        self._client = client
        self._bases = tuple(bases)
        self._recipients_key = recipients_key
        self._campaign_key = campaign_key
        self._out = out
        self._script = client.register_script(_LIVE_JOBS)
        self._last_events = {f"{base}events": "0-0" for base in self._bases}
        self._known: dict[str, bool] = {}
        self._added: dict[str, int] = {}
        self._events = 0
        self._added_to: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        self._doubled: set[tuple[str, tuple[str, ...]]] = set()
        self._since: dict[tuple[str, str], float] = {}
        self._looks = 0
        self._sampled_at = 0.0
        self._looked_at = 0.0

    def look(self) -> None:
        """Take one sample of the events and of all live jobs."""
        self._read_events()
        reply: list[Any] = self._script(keys=self._bases)
        now = time.time()
        covering: dict[str, set[str]] = defaultdict(set)
        spans: set[tuple[str, str]] = set()
        live = list(zip(reply[::3], reply[1::3], reply[2::3], strict=True))
        for number, own_id, data in live:
            job_id = self._named(self._bases[number - 1], own_id)
            recipients, campaign = self._payload(data)
            if job_id.startswith(OURS) and not self._known.get(job_id):
                self._known[job_id] = True
                self._write("job", now, id=job_id, campaign=campaign, recipients=recipients)
            if campaign is not None:
                spans.add(("busy", campaign))
            elif named := self._named_unclearly(data):
                spans.add(("unclear", named))
            for recipient in recipients:
                covering[recipient].add(job_id)
        self._note_spans(now, spans)
        doubled = {recipient: jobs for recipient, jobs in covering.items() if len(jobs) > 1}
        if doubled:
            self._read_events()  # those between the two reads
        for recipient, jobs in doubled.items():
            self._write_double(now, recipient, jobs)
        self._looks += 1
        if now - self._sampled_at >= SAMPLE_EVERY_SECONDS:
            self._sampled_at = now
            self.sample(now, len(live))
            for (kind, campaign), since in self._since.items():
                self._write(kind, now, campaign=campaign, since=since)

    def sample(self, now: float, live: int) -> None:
        """Write the number of samples since the last line, and the number of live jobs."""
        self._write("sample", now, looks=self._looks, live=live, added=self._added_to, names=self._names)
        self._looks = 0
        self._added_to.clear()
        self._names.clear()

    def blind(self) -> None:
        """Redis could not be read: what was live meanwhile is not known."""
        self._since.clear()

    def _note_spans(self, now: float, spans: set[tuple[str, str]]) -> None:
        """Remember since when campaigns have live jobs of a kind, and write how long those had that have none now."""
        for kind, campaign in self._since.keys() - spans:
            self._write(kind, self._looked_at, campaign=campaign, since=self._since.pop((kind, campaign)))
        for span in spans - self._since.keys():
            self._since[span] = now
        self._looked_at = now

    def _payload(self, data: str) -> tuple[list[str], str | None]:
        try:
            document = json.loads(data)
            return [str(recipient) for recipient in document[self._recipients_key]], str(document[self._campaign_key])
        except (ValueError, KeyError, TypeError):
            return [], None  # a job of another kind

    def _named_unclearly(self, data: str) -> str | None:
        """The campaign that a job of another kind names under a key of its own."""
        try:
            named = json.loads(data)[UNCLEAR_KEY]
        except (ValueError, KeyError, TypeError):
            return None
        return str(named)

    def _read_events(self) -> None:
        streams: dict[Any, Any] = dict(self._last_events)
        answer: Any = self._client.xread(streams, count=1000)
        events: list[tuple[tuple[int, ...], str, Mapping[str, str]]] = []
        for key, entries in answer or ():
            self._last_events[key] = entries[-1][0]
            for entry_id, fields in entries:
                place = tuple(map(int, entry_id.split("-")))
                events.append((place, key.removesuffix("events"), fields))
        for place, base, fields in sorted(events, key=lambda event: event[0]):
            self._read_event(place[0] / 1000, base, fields)

    def _read_event(self, at: float, base: str, fields: Mapping[str, str]) -> None:
        """Read one event; ``at`` is its time by Redis's clock."""
        own_id = fields.get("jobId", "")
        job_id, key = self._named(base, own_id), base + own_id
        if fields.get("event") == "completed" and (kept := self._client.hget(key, "data")):
            recipients, campaign = self._payload(str(kept))
            self._write("completed", at, id=job_id, campaign=campaign, recipients=recipients)
        if fields.get("event") != "added":
            return
        self._events += 1
        self._added[job_id] = self._events
        self._added_to[base.split(":")[-2]] += 1
        self._names[fields.get("name", "")] += 1
        if job_id.startswith(OURS) and job_id not in self._known:
            data: Any = self._client.hget(key, "data")
            listed, campaign = self._payload(data) if data else (None, None)
            self._known[job_id] = data is not None
            self._write("job", time.time(), id=job_id, campaign=campaign, recipients=listed)

    def _named(self, base: str, job_id: str) -> str:
        """The job's id among those of all queues; ours are unique."""
        if len(self._bases) == 1 or job_id.startswith(OURS):
            return job_id
        return f"{base.split(':')[-2]}:{job_id}"

    def _write_double(self, now: float, recipient: str, jobs: set[str]) -> None:
        """Write it only if the job added last is ours; otherwise the application itself caused the double."""
        never = self._events + 1
        in_order = tuple(sorted(jobs, key=lambda job_id: (self._added.get(job_id, never), job_id.startswith(OURS))))
        if in_order[-1].startswith(OURS) and (recipient, in_order) not in self._doubled:
            self._doubled.add((recipient, in_order))
            self._write("double", now, recipient=recipient, jobs=in_order)

    def _write(self, kind: str, at: float, **values: Any) -> None:
        self._out.write(json.dumps({"kind": kind, "at": at, **values}) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Watch until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m campaign_ops.lab.drill.queue_watcher", description=__doc__)
    for name in ("--queue-url", "--prefix", "--recipients-key", "--campaign-key", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--queue", action="append", required=True)
    options = parser.parse_args(arguments)
    over = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal over
        over = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    client = redis.Redis.from_url(
        options.queue_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=1, encoding_errors="replace"
    )
    with Path(options.out).open("a", encoding="utf-8", buffering=1) as out:
        bases = [f"{options.prefix}:{name}:" for name in options.queue]
        watcher = QueueWatcher(client, bases, options.recipients_key, options.campaign_key, out)
        while not over:
            try:
                watcher.look()
            except redis.RedisError:
                watcher.blind()
                time.sleep(0.05)  # unavailable, or just back
            time.sleep(LOOK_EVERY_SECONDS)
    client.close()


if __name__ == "__main__":
    main()
