"""Prometheus metrics: every family with its labels and meaning, and the exposition. Mounted by each face.

A figure that is not known has no sample. No label names a campaign or a tenant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from campaign_ops.core.model import RepairKind
from campaign_ops.queries.metrics import PlatformMetrics, SweepFigures

CACHED_SECONDS = 10
_BREAKERS = (RepairKind.COMPLETE, RepairKind.REENQUEUE, RepairKind.RELEASE)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. Every one also has the label ``platform``."""

    help: str
    labels: tuple[str, ...] = ()
    counter: bool = False


FAMILIES: Mapping[str, Family] = {
    "campaigns_stuck": Family("Stuck campaigns at the latest sweep, by verdict.", ("verdict",)),
    "campaigns_stuck_over_alert": Family(
        "Campaigns stuck for longer than alert_after_seconds at the latest sweep; without those that progress or wait."
    ),
    "campaigns_sending": Family("Campaigns in sending at the latest sweep."),
    "campaigns_need_person": Family("Campaigns that no later sweep repairs without a person."),
    "queue_sms_waiting": Family("Jobs that wait for a worker in all queues: wait, paused and prioritized."),
    "campaign_ops_queue_jobs": Family("Jobs in a queue, by state.", ("queue", "state")),
    "campaign_ops_queue_paused": Family("1 while the queue is paused.", ("queue",)),
    "campaign_ops_queue_seen_timestamp_seconds": Family("When the queue was looked at last.", ("queue",)),
    "reconciliation_jobs_completed_total": Family("Finished sweeps, by outcome.", ("outcome",), counter=True),
    "campaign_ops_last_sweep_timestamp_seconds": Family("When the latest sweep finished."),
    "campaign_ops_sweep_duration_seconds": Family("How long the latest finished sweep took."),
    "campaign_ops_repairs_total": Family("Repairs that took effect.", ("kind", "trigger"), counter=True),
    "campaign_ops_credits_held": Family("Credits held by reservations at the latest sweep."),
    "campaign_ops_credits_leaked": Family("Credits that the latest sweep found held for nothing and left held."),
    "campaign_ops_breaker_tripped": Family("1 while the breaker holds this kind of repair back.", ("kind",)),
    "campaign_ops_workers": Family("Workers connected to the queue.", ("queue",)),
    "campaign_ops_worker_oldest_uptime_seconds": Family("Uptime of the longest connected worker.", ("queue",)),
    "campaign_ops_worker_restarts_total": Family("Restarts or reconnects of workers.", ("queue",), counter=True),
    "campaign_ops_incidents_open": Family(
        "Incidents that are not resolved, acknowledged and silenced ones too.", ("cause", "severity")
    ),
    "campaign_ops_last_look_timestamp_seconds": Family("When a watcher, or Dagster's sensor, last looked."),
    "campaign_ops_source_up": Family(
        "1 when the database answers, the queue answered last, the entry in the configuration is sound.", ("source",)
    ),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a family."""

    family: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


BROKEN = Sample("campaign_ops_source_up", 0.0, {"source": "configuration"})
"""The one sample of a platform whose entry in the configuration is broken."""


AWAY = Sample("campaign_ops_source_up", 0.0, {"source": "database"})
"""The one sample of a platform whose database is away."""


def samples(metrics: PlatformMetrics) -> Iterator[Sample]:
    """The samples of one platform, without the label ``platform``."""
    yield Sample("campaign_ops_source_up", float(metrics.database_up), {"source": "database"})
    if metrics.sweep is not None:
        yield from _of_sweep(metrics.sweep)
    yield from _of_queues(metrics)
    for (cause, severity), number in sorted(metrics.incidents.items()):
        yield Sample("campaign_ops_incidents_open", number, {"cause": cause, "severity": severity})
    if metrics.last_look_at is not None:
        yield Sample("campaign_ops_last_look_timestamp_seconds", metrics.last_look_at.timestamp())
    for (name, labels), value in metrics.totals.items():
        family = _COUNTERS.get(name)
        if family is not None:
            yield Sample(family, value, dict(zip(FAMILIES[family].labels, labels, strict=True)))


_COUNTERS = {
    "sweeps": "reconciliation_jobs_completed_total",
    "repairs": "campaign_ops_repairs_total",
    "worker_restarts": "campaign_ops_worker_restarts_total",
}


def _of_sweep(sweep: SweepFigures) -> Iterator[Sample]:
    for verdict, campaigns in sorted(sweep.stuck.items()):
        yield Sample("campaigns_stuck", campaigns, {"verdict": verdict})
    yield Sample("campaigns_stuck_over_alert", sweep.stuck_over_alert)
    yield Sample("campaigns_sending", sweep.sending)
    yield Sample("campaigns_need_person", sweep.need_person)
    yield Sample("campaign_ops_last_sweep_timestamp_seconds", sweep.finished_at.timestamp())
    yield Sample("campaign_ops_sweep_duration_seconds", sweep.duration_seconds)
    for kind in _BREAKERS:
        yield Sample("campaign_ops_breaker_tripped", float(kind in sweep.tripped), {"kind": kind.value})
    if sweep.credits_held is not None:
        yield Sample("campaign_ops_credits_held", sweep.credits_held)
    if sweep.credits_leaked is not None:
        yield Sample("campaign_ops_credits_leaked", sweep.credits_leaked)


def _of_queues(metrics: PlatformMetrics) -> Iterator[Sample]:
    if not metrics.queues:
        return
    yield Sample("campaign_ops_source_up", float(not any(look.away for look in metrics.queues)), {"source": "queue"})
    depths = [look.depth for look in metrics.queues]
    if None not in depths:
        yield Sample("queue_sms_waiting", sum(depth or 0 for depth in depths))
    for look in metrics.queues:
        queue = {"queue": look.queue}
        yield Sample("campaign_ops_queue_seen_timestamp_seconds", look.seen_at.timestamp(), queue)
        if look.counts:
            yield Sample("campaign_ops_queue_paused", float(look.paused), queue)
        for state, jobs in sorted(look.counts.items()):
            yield Sample("campaign_ops_queue_jobs", jobs, {**queue, "state": state})
    for health in metrics.workers:
        queue = {"queue": health.queue}
        if health.workers is not None:
            yield Sample("campaign_ops_workers", health.workers, queue)
        if health.workers and health.oldest_uptime_seconds is not None:
            yield Sample("campaign_ops_worker_oldest_uptime_seconds", health.oldest_uptime_seconds, queue)


def exposition(platforms: Iterable[tuple[str, Iterable[Sample]]]) -> str:
    """The samples of all platforms in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(list(_families(platforms))))
    return generate_latest(registry).decode()


class CachedExposition:
    """The exposition, read again when it is older than some seconds: scrapers in pairs cost one reading.

    Args:
        read: Reads the samples of all platforms.
        seconds: How old an exposition may be.
    """

    def __init__(
        self, read: Callable[[], Iterable[tuple[str, Iterable[Sample]]]], seconds: float = CACHED_SECONDS
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._until = 0.0
        self._text = ""

    def __call__(self) -> str:
        """The exposition of now, or of a few seconds ago."""
        if time.monotonic() >= self._until:
            self._text = exposition(self._read())
            self._until = time.monotonic() + self._seconds
        return self._text


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(platforms: Iterable[tuple[str, Iterable[Sample]]]) -> Iterator[Metric]:
    by_family: dict[str, list[tuple[str, Sample]]] = {}
    for platform, own in platforms:
        for sample in own:
            by_family.setdefault(sample.family, []).append((platform, sample))
    for name, family in FAMILIES.items():
        made = (CounterMetricFamily if family.counter else GaugeMetricFamily)(
            name, family.help, labels=("platform", *family.labels)
        )
        for platform, sample in by_family.get(name, []):
            made.add_metric([platform, *(sample.labels[label] for label in family.labels)], sample.value)
        if made.samples:
            yield made
