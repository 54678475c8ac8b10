"""The drill's side of a gap: what happens between two statements of a sweep, to the very rows that it works on.

One sweeper runs whole sweeps and single steps in turn, and waits at some of its statements (`meeting`). Meanwhile the
application acts on one of the campaigns that the sweep works on, the sweep loses its lock or its sessions, Redis is
restarted, or the process sleeps.
"""

from __future__ import annotations

import contextlib
import json
import random
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import redis
import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.lab.drill.environment.workforce import WORKER
from campaign_ops.lab.drill.faults.base import role_of
from campaign_ops.lab.drill.faults.servers import DropConnections, RedisOldData
from campaign_ops.lab.drill.ledger import END, FAULT, LOCK_LOSS
from campaign_ops.lab.drill.meeting import ADDING, ENDING
from campaign_ops.lab.drill.workload import UNTOUCHABLE, Workload
from campaign_ops.lab.shop.claims import Claims

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

Act = Callable[[Sequence[str]], float | None]
_MORE_BEFORE = {
    ADDING: {"lose_lock": 4, "enqueue": 8, "send": 8, "claim": 4, "cancel": 6, "pause_queue": 3, "restart_redis": 4},
    ENDING: {"retry_slowly": 12, "reopen": 6, "import_more": 6},
}
"""Weights of the acts that do most harm there. Drawn as anywhere else, a lock was lost right before an add in one of
five drills of two minutes, and a sweep that never checks its lock was not seen."""
_COMMITS_LATE_SECONDS = 1.5
_RESTART_EVERY_SECONDS = 25.0
_TRIED = 3
_ACTS_AT_ONCE = 4
"""So many acts are tried until one has an effect: most need a campaign in some state, and half of all were sleeps."""
_LOCK_HOLDERS = sa.text(
    "SELECT a.application_name, pg_terminate_backend(pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND a.usename = :role AND a.datname = current_database()"
)


class Gaps:
    """Acts wherever the meeting sweeper waits, until ``stop``. A context manager, entered before sweepers start.

    Args:
        rig: The rig.

    Attributes:
        acted: How often each act had an effect, by its name.
    """

    def __init__(self, rig: Rig) -> None:
        self.acted: Counter[str] = Counter()
        self._rig = rig
        self._rng = random.Random(f"{rig.options.seed} gaps")
        self._acting = threading.Lock()
        self._server = _Server(self.meet)
        self._acts = Acts(rig, self._rng)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self._rig.meet_port = self._server.server_address[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __str__(self) -> str:
        """The acts that had an effect, in words."""
        return ", ".join(f"{number} x {name}" for name, number in self.acted.most_common()) or "nothing"

    def stop(self) -> None:
        """Act no more; sweepers that still ask are not answered. Idempotent."""
        if self._rig.meet_port:
            self._rig.meet_port = 0
            self._server.shutdown()
            self._server.server_close()
            self._acts.end()

    def meet(self, ids: Sequence[str], about_to: str = "") -> float:
        """Do one thing while a sweep waits, about to do this; return for how long it is to sleep after that."""
        with self._acting:
            for act in (self._acts.any(about_to, sleeps=not number) for number in range(_ACTS_AT_ONCE)):
                try:
                    seconds = act(ids)
                except (sa.exc.SQLAlchemyError, redis.RedisError, CampaignOpsError, OSError):
                    return 0.0  # a server is away
                if seconds is not None:
                    self.acted[act.__name__] += 1
                    return seconds
            return 0.0


class Acts:
    """Everything that may happen in a gap. Each act returns for how long the sweep is to sleep; None for no effect."""

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self._rig = rig
        self._rng = rng
        self._workload = Workload(rig)
        self._client = redis.Redis.from_url(rig.queue.url, socket_timeout=2)
        profile = rig.profile.queue
        assert profile is not None
        self._claims = Claims(self._client, profile, seconds=WORKER.claim_seconds, record=rig.owner)
        self._restart_at = time.monotonic() + _RESTART_EVERY_SECONDS / 2
        self._threads: list[threading.Thread] = []

    def any(self, about_to: str = "", *, sleeps: bool = True) -> Act:
        """One of the acts at random, by their weights; without ``sleeps`` one in which the process does not sleep.

        Those that always have an effect have small weights: with 1 each, the lost lock and sessions were 14 of 49.
        """
        acts: dict[Act, float] = {
            self.sleep: 4 if sleeps else 0,
            self.touch: 0.5,
            self.enqueue: 3,
            self.send: 3,
            self.claim: 1,
            self.cancel: 2,
            self.pause: 2,
            self.import_more: 2,
            self.reopen: 3,
            self.retry: 2,
            self.retry_slowly: 3,
            self.pause_queue: 0.5,
            self.lose_jobs: 1,
            self.lose_lock: 0.3,
            self.lose_sessions: 0.2,
            self.restart_redis: 1,
        }
        acts |= {getattr(self, name): weight for name, weight in _MORE_BEFORE.get(about_to, {}).items()}
        return self._rng.choices(list(acts), list(acts.values()))[0]

    def end(self) -> None:
        """Wait for what goes on in the background."""
        for thread in self._threads:
            thread.join(10)
        self._client.close()

    # -- the process -----------------------------------------------------------------------------------------------

    def sleep(self, _ids: Sequence[str]) -> float:
        """The process sleeps: for so long that others act, or, rarely, that a look is too old.

        It holds the lock meanwhile. With every sixth sleep of 11 s, 74 of 120 s passed in them, and 58 acts in all.
        """
        return self._rng.choices((0.3, 1.2, 3.0, 11.0), (6, 6, 2, 1))[0]

    def lose_lock(self, _ids: Sequence[str]) -> float | None:
        """The session that holds the sweep lock ends, and a second passes."""
        return self._end_sessions()

    def lose_sessions(self, _ids: Sequence[str]) -> float | None:
        """All sessions of campaign_ops end."""
        if self._end_sessions() is None:
            return None
        self._rig.ledger.note(FAULT, DropConnections.name)
        with self._rig.owner.connect() as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :role"
            connection.execute(sa.text(query), {"role": role_of(self._rig)})
        return 0.0

    def _end_sessions(self) -> float | None:
        with self._rig.owner.begin() as connection:
            holders = connection.execute(_LOCK_HOLDERS, {"role": role_of(self._rig)}).all()
        for application, _ in holders:
            self._rig.ledger.note(LOCK_LOSS, application)
        return 1.6 if holders else None

    # -- the queue -------------------------------------------------------------------------------------------------

    def pause_queue(self, _ids: Sequence[str]) -> float:
        """A person pauses the queue, and resumes it a second later."""
        self._rig.queue.pause()
        self._later(1.0, self._rig.queue.resume)
        return 0.0

    def lose_jobs(self, ids: Sequence[str]) -> float | None:
        """The waiting jobs of a campaign vanish."""
        label, queue = self._one(ids), self._rig.queue
        campaign = label and self._rig.writer.id(label)
        jobs = [job for job in queue.live_job_ids() if queue.campaign_of(job) == campaign]
        return 0.0 if jobs and queue.remove(jobs) else None

    def restart_redis(self, _ids: Sequence[str]) -> float | None:
        """Redis is killed and comes back with the data of this moment: another process, as after a failover."""
        rig = self._rig
        if rig.servers is None or rig.servers.redis.pid is None or time.monotonic() < self._restart_at:
            return None
        self._restart_at = time.monotonic() + _RESTART_EVERY_SECONDS
        if not rig.redis_in_use.acquire(blocking=False):
            return None
        rig.ledger.note(FAULT, RedisOldData.name)
        try:
            rig.restart_redis(rig.save_redis(), down_seconds=0.5)
        finally:
            rig.redis_in_use.release()
            rig.ledger.note(END, RedisOldData.name)
        return 0.0

    # -- the application -------------------------------------------------------------------------------------------

    def touch(self, ids: Sequence[str]) -> float | None:
        """The application touches a campaign."""
        label = self._one(ids)
        if label is None:
            return None
        self._rig.application.touch(label)
        return 0.0

    def enqueue(self, ids: Sequence[str]) -> float | None:
        """The application itself enqueues the recipients that are in no job."""
        label = self._sending(ids)
        return 0.3 if label is not None and self._workload.enqueue_missing(label) else None

    def send(self, ids: Sequence[str]) -> float | None:
        """The application sends to some recipients in process, as a worker whose job was lost goes on doing."""
        label, rig = self._sending(ids), self._rig
        sent, campaign = 0, rig.writer.id(label or "")
        for recipient in self._uncovered(label):
            if self._claims.take(recipient, "in process") is not None:
                sent += rig.application.write_answer(recipient, rig.provider.send(recipient, campaign, "in process"))
        return self._rng.choice((0.0, 1.2)) if sent else None

    def claim(self, ids: Sequence[str]) -> float | None:
        """A worker whose job was lost dies between its claim and the send."""
        claimed = [self._claims.take(one, "in process") for one in self._uncovered(self._sending(ids))[:1]]
        return self._rng.choice((0.0, 1.2)) if any(claimed) else None

    def cancel(self, ids: Sequence[str]) -> float | None:
        """A person cancels a campaign; its credits are leaked, or released by the application."""
        label = self._sending(ids)
        if label is None:
            return None
        return 0.0 if self._workload.cancel_one(label, frees_credits=self._rng.random() < 0.5) else None

    def pause(self, ids: Sequence[str]) -> float | None:
        """A person pauses a campaign."""
        label = self._sending(ids)
        return 0.0 if label is not None and self._workload.pause_one(label) else None

    def import_more(self, ids: Sequence[str]) -> float | None:
        """A person imports more recipients into a campaign."""
        label = self._sending(ids)
        return 0.0 if label is not None and self._workload.extend(label, _TRIED) else None

    def reopen(self, ids: Sequence[str]) -> float | None:
        """A person opens a campaign again that is over, such as one whose credits are about to be released."""
        label = self._one(ids)
        return 0.0 if label is not None and self._workload.reopen_one(label) else None

    def retry(self, ids: Sequence[str]) -> float | None:
        """The application tries failed recipients again: a job lists them, and they are failed until it is taken."""
        label = self._sending(ids)
        return 1.2 if label is not None and self._workload.retry_one(label) else None

    def retry_slowly(self, ids: Sequence[str]) -> float | None:
        """A transaction sets failed recipients back to pending, and commits a moment later; then they get a job."""
        label, rig = self._sending(ids), self._rig
        if label is None:
            return None
        table, words = rig.writer.tables.recipient, rig.profile.recipient.words
        failed = rig.writer.failed_ids(label)[:_TRIED]
        if not failed or set(failed) & rig.live_recipients():
            return None
        began = threading.Event()

        def commit_late() -> None:
            theirs = (table.c.id.in_(failed), table.c.status.in_(words.failed))
            with rig.owner.begin() as connection:
                connection.execute(table.update().where(*theirs).values(status=words.pending[0]))
                began.set()
                time.sleep(_COMMITS_LATE_SECONDS)
                self._claims.forget(failed)
            self._workload.enqueue_missing(label)

        self._later(0.0, commit_late)
        began.wait(2)
        return 0.0

    # -- choosing --------------------------------------------------------------------------------------------------

    def _one(self, ids: Sequence[str]) -> str | None:
        """The label of one of the campaigns that the sweep works on; its ids may be those of reservations."""
        if not ids:
            return None
        rig, key = self._rig, self._rng.choice(list(ids))
        label = rig.writer.label(key)
        if not label:
            reservations = rig.writer.tables.reservations
            query = sa.select(sa.cast(reservations.c.campaign_id, sa.Text))
            with rig.owner.connect() as connection:
                key = connection.scalar(query.where(sa.cast(reservations.c.id, sa.Text) == key)) or ""
            label = rig.writer.label(key) if key else ""
        return label if label and not label.startswith(UNTOUCHABLE) else None

    def _sending(self, ids: Sequence[str]) -> str | None:
        label = self._one(ids)
        return label if label is not None and self._rig.application.is_sending(label) else None

    def _uncovered(self, label: str | None) -> list[str]:
        """Some pending recipients of a campaign that are in no live job."""
        if label is None:
            return []
        covered = self._rig.live_recipients()
        return [one for one in self._rig.writer.pending_ids(label) if one not in covered][:_TRIED]

    def _later(self, seconds: float, work: Callable[[], object]) -> None:
        def run() -> None:
            time.sleep(seconds)
            with contextlib.suppress(sa.exc.SQLAlchemyError, redis.RedisError, OSError):
                work()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, meet: Callable[[Sequence[str], str], float]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.meet = meet


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            gap = json.loads(self.rfile.readline())
            self.wfile.write(f"{self.server.meet(gap['ids'], gap['about_to'])}\n".encode())
