"""Sweeps that are asked for over HTTP: started in Dagster where it answers, so that they are seen there, else here."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.errors import Refused, SweepBusy
from campaign_ops.core.report import headline
from campaign_ops.faces import shapes
from campaign_ops.faces.documents import sweep_document
from campaign_ops.faces.http.pool import PlatformPool
from campaign_ops.faces.http.problems import Problem, problem_of
from campaign_ops.faces.http.shapes import Plan, SweepState
from campaign_ops.faces.outcomes import NOT_USED, held_back, outcomes_of
from campaign_ops.platform import Platform
from campaign_ops.queries.history import code_was_used
from campaign_ops.queries.sweeps import sweep_of_run
from campaign_ops.sweep import Sweep, dry_run
from campaign_ops.watch.dagster import Dagster

log = logging.getLogger(__name__)

REMEMBERED = 100
TRIGGER = "http"


@dataclass
class SweepRun:
    """One sweep that runs, or ran, in this process."""

    platform: str
    run_id: str
    started_at: datetime
    state: str = "running"
    finished_at: datetime | None = None
    message: str = "under way"
    result: shapes.SweepResult | None = None
    problem: Problem | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def document(self) -> SweepState:
        """It as it is now."""
        return {
            "platform": self.platform,
            "run_id": self.run_id,
            "state": self.state,
            "by": "service",
            "started_at": self.started_at.isoformat(),
            "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
            "place": place_of(self.run_id, self.platform),
            "message": self.message,
            "result": self.result,
        }


def place_of(run_id: str, platform: str) -> str:
    """The path where a sweep's state is found."""
    return f"/api/sweeps/{run_id}?platform={platform}"


class Sweeps:
    """Starts sweeps, one for each platform at a time, and remembers the latest.

    Args:
        pool: The platforms.
        dagster: Dagster's webserver; None without one.
    """

    def __init__(self, pool: PlatformPool, dagster: Dagster | None = None) -> None:
        self._pool, self._dagster = pool, dagster
        self._runs: OrderedDict[str, SweepRun] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, platform: str) -> Plan:
        """Return what a sweep would do now.

        Raises:
            CampaignOpsError: As a dry run does.
        """
        with self._pool.bounded(platform), self._pool.writing(platform) as connected:
            report = dry_run(connected, run_id=f"http-{uuid4().hex}")
        document = sweep_document(report, outcomes_of(report), confirm=lambda offer: offer.code)
        return {"platform": platform, "plan": document}

    def start(self, platform: str, actor: str, confirm: Confirmation | None = None) -> SweepState:
        """Start a sweep: in Dagster if it answers and nothing is confirmed, else in this process.

        Args:
            platform: The platform.
            actor: Who asks for it.
            confirm: What lets a breaker's repairs pass.

        Raises:
            SweepBusy: One is under way, here or elsewhere.
            Unavailable: The database is away.
        """
        if self._dagster is not None and confirm is None:
            run_id = self._dagster.launch(platform, actor)
            if run_id is not None:
                return {
                    "platform": platform,
                    "run_id": run_id,
                    "state": "running",
                    "by": "dagster",
                    "started_at": datetime.now(UTC).isoformat(),
                    "finished_at": None,
                    "place": f"{self._dagster.url}/runs/{run_id}",
                    "message": "a run of Dagster",
                    "result": None,
                }
        return self.run(platform, actor, confirm).document

    def run(self, platform: str, actor: str, confirm: Confirmation | None = None) -> SweepRun:
        """Start a sweep in this process.

        Raises:
            SweepBusy: One is under way, here or elsewhere.
            Unavailable: The database is away.
        """
        with self._lock:
            if any(run.platform == platform and not run.ended.is_set() for run in self._runs.values()):
                raise SweepBusy("a sweep that was asked for here is under way", where=platform, mend="wait for its end")
            run = SweepRun(platform, f"http-{uuid4().hex}", datetime.now(UTC))
            self._runs[run.run_id] = run
            while len(self._runs) > REMEMBERED:
                oldest = next(iter(self._runs.values()))
                if not oldest.ended.is_set():
                    break
                self._runs.popitem(last=False)
        try:
            # Tried first, so that the request is refused at once. The sweep itself takes the lock again.
            with self._pool.reading(platform) as connected, connected.lock(wait_seconds=0).hold():
                pass
        except BaseException:
            with self._lock:
                del self._runs[run.run_id]
            raise
        threading.Thread(target=self._sweep, args=(run, actor, confirm), name=f"sweep of {platform}").start()
        return run

    def state(self, platform: str, run_id: str) -> SweepState:
        """Return a sweep by its run: from memory, else from the platform's records.

        Raises:
            StateSchemaError: Our own schema is missing or of another revision.
            Unavailable: The database is away.
        """
        run = self._runs.get(run_id)
        if run is not None and run.platform == platform:
            return run.document
        with self._pool.reading(platform) as connected:
            row, died = _recorded(connected, run_id)
        ended = row is not None and row["finished_at"] is not None
        state = "unknown" if row is None else "done" if ended else "failed" if died else "running"
        message = "it did not end: its process died, or it failed; the next sweep continues from there"
        if not died:
            message = "no sweep of this run is recorded (yet)" if row is None else "as recorded"
        return {
            "platform": platform,
            "run_id": run_id,
            "state": state,
            "by": "service" if run_id.startswith("http-") else "dagster",
            "started_at": None if row is None else row["started_at"].isoformat(),
            "finished_at": row["finished_at"].isoformat() if row is not None and ended else None,
            "place": place_of(run_id, platform),
            "message": message,
            "result": None,
        }

    def close(self, seconds: float = 60) -> None:
        """Wait until running sweeps have ended: each ends its work and gives the lock back."""
        for run in list(self._runs.values()):
            run.ended.wait(seconds)

    def _sweep(self, run: SweepRun, actor: str, confirm: Confirmation | None) -> None:
        try:
            with self._pool.writing(run.platform) as connected:
                sweep = Sweep(
                    connected,
                    run_id=run.run_id,
                    trigger=TRIGGER,
                    actor=actor,
                    confirm=confirm,
                    lock_wait_seconds=5,
                )
                report = sweep.run()
                not_used = confirm and not held_back(report) and not code_was_used(connected, run.run_id)
            run.result = sweep_document(report, outcomes_of(report), confirm=lambda offer: offer.code)
            run.message = headline(report) + (f"; the code {NOT_USED}" if not_used else "")
            run.state = "done"
        except Exception as error:  # noqa: BLE001 - whatever it was, its state must say so
            run.problem = problem_of(error)
            run.state = "refused" if isinstance(error, Refused | SweepBusy) else "failed"
            run.message = run.problem.detail
        finally:
            run.finished_at = datetime.now(UTC)
            run.ended.set()


def _recorded(connected: Platform, run_id: str) -> tuple[Mapping[str, Any] | None, bool]:
    """Return the row of a run, and whether it died: it has no end, and no sweep is under way.

    A sweep of this service holds the lock from its beginning to its end; between the steps of Dagster's it is free.
    """
    row = sweep_of_run(connected, run_id)
    if row is None or row["finished_at"] is not None or not run_id.startswith("http-"):
        return row, False
    try:
        with connected.lock(wait_seconds=0).hold():
            row = sweep_of_run(connected, run_id)  # it may have ended since
    except SweepBusy:
        return row, False
    return row, row is not None and row["finished_at"] is None
