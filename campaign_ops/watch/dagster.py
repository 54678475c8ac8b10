"""The state of Dagster: the heartbeats of its daemons, and how the latest run of each platform ended.

A run that was cancelled proves nothing: the one before it counts.

Asked over GraphQL, which is Dagster's contract; the tables of its storage are not, and change between versions. It
needs the webserver: while that is away nothing is known of the daemons, and nothing is judged. A dead daemon is then
still noticed by the age of the last sweep.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Any

from campaign_ops.core.causes import Cause
from campaign_ops.core.errors import SweepBusy
from campaign_ops.core.incidents import Look, Symptom
from campaign_ops.core.wording import duration

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5
LAUNCH_SECONDS = 20
"""A person waits for it, and a busy webserver loads its definitions first."""
DEAD_AFTER_SECONDS = 300
"""Daemons beat twice a minute; Dagster itself calls one unhealthy after half an hour, three sweeps late."""
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR")
"""Without any of these that the instance needs no sweep is started."""
RUNS = 500
RECONCILE = "reconcile"
"""The work of a whole sweep, in the names and tags of jobs."""
USER_TAG = "user"
"""The tag with the person who launched a run, as Dagster+ sets it; their name goes into the journal."""
PLATFORM_TAG = "campaign_ops/platform"
"""On every run of a platform, manual runs too: dagster.yaml allows one run with the same value at a time."""
WORK_TAG = "campaign_ops/work"
"""The purpose of a run of ours."""
FIX, PLAN = "fix", "plan"
OUTCOME_TAG, REFUSED = "campaign_ops/outcome", "refused"
"""How a run ended that Dagster calls a success."""

_QUERY = """
query Watch($runs: Int!) {
  instance { daemonHealth { allDaemonStatuses { daemonType lastHeartbeatTime } } }
  runsOrError(filter: {statuses: [SUCCESS, FAILURE]}, limit: $runs) {
    __typename
    ... on Runs { results { runId status pipelineName tags { key value } } }
  }
}
"""

_JOBS = """
query Jobs($platform: [ExecutionTag!]) {
  instance { daemonHealth { allDaemonStatuses { daemonType lastHeartbeatTime } } }
  repositoriesOrError {
    ... on RepositoryConnection { nodes { name location { name } jobs { name tags { key value } } } }
  }
  runsOrError(filter: {tags: $platform, statuses: [QUEUED, NOT_STARTED, STARTING, STARTED]}, limit: 1) {
    ... on Runs { results { runId } }
  }
}
"""
_LAUNCH = """
mutation Launch($selector: JobOrPipelineSelector!, $tags: [ExecutionTag!]) {
  launchRun(executionParams: {selector: $selector, executionMetadata: {tags: $tags}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}
"""
_NO_ANSWER = (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError)
"""No server, no HTTP, no JSON, or JSON of another shape."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """The latest finished run of a platform; ``how`` it failed, in words."""

    run_id: str
    job: str
    failed: bool
    how: str = "failed"

    def look(self) -> Look:
        """Return what is wrong if it failed. The same run is not a second look."""
        symptom = Symptom(Cause.RUN_FAILED, count=1, detail=f"run {self.run_id} of {self.job} {self.how}")
        return Look((symptom,) if self.failed else (), {Cause.RUN_FAILED: f"run {self.run_id}"})


def ended_run(run_id: str, job: str, tags: Mapping[str, str], *, failed: bool) -> EndedRun | None:
    """A finished run as evidence; None for one that proves nothing.

    A sweep that was refused has not swept, whatever Dagster calls it. A fix or a dry run that succeeds does not prove
    that sweeps do; of a fix that was refused, a person was told at once.
    """
    refused, work = tags.get(OUTCOME_TAG) == REFUSED, tags.get(WORK_TAG)
    if (refused and work == FIX) or (not failed and not refused and work in (FIX, PLAN)):
        return None
    return EndedRun(run_id, job, failed or refused, "was refused" if refused else "failed")


@dataclass(frozen=True, slots=True)
class DagsterState:
    """Dagster at one moment. ``silent_seconds`` is None for a daemon that has never been seen."""

    silent_seconds: Mapping[str, float | None]
    last_runs: Mapping[str, EndedRun] = field(default_factory=dict)

    @property
    def dead(self) -> list[str]:
        """The daemons without a heartbeat for too long, in words."""
        return [
            f"{name} has never been seen" if seconds is None else f"{name} has been silent for {duration(int(seconds))}"
            for name, seconds in self.silent_seconds.items()
            if seconds is None or seconds > DEAD_AFTER_SECONDS
        ]

    def look(self, platform: str) -> Look:
        """Return what is wrong with Dagster as far as a platform is concerned."""
        dead = self.dead
        symptoms = (Symptom(Cause.DAEMON_DEAD, detail="; ".join(dead)),) if dead else ()
        look = Look(symptoms, {Cause.DAEMON_DEAD: ""})
        run = self.last_runs.get(platform)
        return look | run.look() if run is not None else look


class Dagster:
    """Dagster's webserver.

    Args:
        url: Its address, such as ``http://127.0.0.1:3000``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def state(self) -> DagsterState | None:
        """Ask once; None, with a line in the log, where the webserver does not answer as expected."""
        try:
            return _state(self._ask(_QUERY, runs=RUNS), time.time())
        except _NO_ANSWER as error:
            log.warning("Dagster's webserver did not answer as expected: %s", type(error).__name__)
            return None

    def launch(self, platform: str, actor: str) -> str | None:
        """Start a sweep as a run of Dagster; None where it would not run: no answer, a dead daemon, or no such job.

        Args:
            platform: The platform's name.
            actor: Who asks for it; a tag of the run.

        Returns:
            The run's id.

        Raises:
            SweepBusy: A run of the platform is queued or under way.
        """
        try:
            found = self._ask(_JOBS, seconds=LAUNCH_SECONDS, platform=[{"key": PLATFORM_TAG, "value": platform}])
            if dead := _of_daemons(found, time.time()).dead:
                log.warning("%s: a run of Dagster would never start: %s", platform, "; ".join(dead))
                return None
            if busy := found["runsOrError"].get("results"):
                what = f"run {busy[0]['runId']} of Dagster is under way"
                raise SweepBusy(what, where=platform, mend=f"look at {self.url}/runs/{busy[0]['runId']}")
            selector = _sweep_job(found, platform)
            tags = [{"key": USER_TAG, "value": actor}]
            launched = self._ask(_LAUNCH, seconds=LAUNCH_SECONDS, selector=selector, tags=tags)["launchRun"]
            return str(launched["run"]["runId"])
        except (*_NO_ANSWER, StopIteration) as error:
            log.warning("%s: Dagster starts no sweep: %s", platform, type(error).__name__)
            return None

    def _ask(self, query: str, *, seconds: float = TIMEOUT_SECONDS, **variables: Any) -> Mapping[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - checked by settings
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            data: Mapping[str, Any] = json.load(answer)["data"]
            return data


def _sweep_job(data: Mapping[str, Any], platform: str) -> dict[str, str]:
    """The job that sweeps a platform, by its tags: in another project's code location its name has a prefix.

    Raises:
        StopIteration: There is none.
    """
    wanted = {(PLATFORM_TAG, platform), (WORK_TAG, RECONCILE)}
    return next(
        {
            "repositoryLocationName": repository["location"]["name"],
            "repositoryName": repository["name"],
            "jobName": job["name"],
        }
        for repository in data["repositoriesOrError"].get("nodes", ())
        for job in repository["jobs"]
        if wanted <= {(tag["key"], tag["value"]) for tag in job["tags"]}
    )


def _state(data: Mapping[str, Any], now: float) -> DagsterState:
    last_runs: dict[str, EndedRun] = {}
    for run in data["runsOrError"].get("results", ()):  # the newest first
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        ended = ended_run(run["runId"], run["pipelineName"], tags, failed=run["status"] == "FAILURE")
        if PLATFORM_TAG in tags and ended is not None:
            last_runs.setdefault(tags[PLATFORM_TAG], ended)
    return replace(_of_daemons(data, now), last_runs=last_runs)


def _of_daemons(data: Mapping[str, Any], now: float) -> DagsterState:
    daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    heard = {daemon["daemonType"]: daemon["lastHeartbeatTime"] for daemon in daemons}
    needed = [name for name in DAEMONS if name in heard]
    return DagsterState({name: None if heard[name] is None else now - heard[name] for name in needed})
