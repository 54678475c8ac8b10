"""``metrics``: one exposition for Prometheus' textfile collector, or for a look by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, cast

from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.metrics import BROKEN, Sample, exposition, samples
from campaign_ops.queries.metrics import platform_metrics
from campaign_ops.settings import connect


def _exposition(outcomes: Sequence[shapes.PlatformOutcome]) -> str:
    return exposition((outcome["platform"], _samples(outcome["result"])) for outcome in outcomes)


def _samples(result: object) -> Sequence[Sample]:
    if result is None:
        return [BROKEN]
    read = cast("Mapping[str, Any]", result)["samples"]
    return [Sample(sample["name"], sample["value"], sample["labels"]) for sample in read]


@command(
    several=True,
    together=_exposition,
    shape=shapes.MetricsResult,
    examples=["metrics", "metrics > /var/lib/node_exporter/campaign_ops.prom.tmp"],
)
def metrics(call: Call) -> Answer:
    """Print the metrics of all platforms in Prometheus' text format.

    Reads our own tables: what the latest sweep and the latest look at the queues have left. A figure that is not known
    is left out. A platform whose database is away has `campaign_ops_source_up` 0 and nothing else; the exit code stays
    0, so that a collector keeps the rest.
    """
    with closing(connect(call.settings.in_a_hurry())) as platform:
        read = platform_metrics(platform)
    result: shapes.MetricsResult = {
        "samples": [
            {"name": sample.family, "labels": dict(sample.labels), "value": sample.value} for sample in samples(read)
        ],
        "error": read.error,
    }
    return Answer(result, [])
