"""Traces of Dagster's runs, as a collector gets them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from pydantic import SecretStr

from tests.collector import Collector, attributes
from tests.conftest import World
from tests.orchestration.harness import NOWHERE, PASSWORD, configured, deployed, failures, reconciled, run

ERROR = 2


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as dagster:
        yield dagster


@pytest.fixture
def spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    return collector.spans


def test_each_step_is_a_span_in_the_trace_of_its_run(
    sms: World, instance: dg.DagsterInstance, spans: list[Any]
) -> None:
    sms.app.add_campaign("lost", pending=3, name="Spring sale")
    result = reconciled(sms, instance)
    assert {UUID(bytes=span.trace_id) for span in spans} == {UUID(result.run_id)}
    steps = {span.name: span for span in spans if "campaign_ops.step" in attributes(span)}
    assert list(steps) == [
        event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key
    ]
    work = [span.name for span in spans if span.parent_span_id == steps["reenqueued_batches"].span_id]
    assert "putting jobs back into the queue" in work
    assert all(span.status.code != ERROR for span in spans)
    assert not any(word in str(span) for span in spans for word in ("Spring sale", "lost", "shop_north"))
    assert not any("putting jobs back" in record.message for record in instance.all_logs(result.run_id))


def test_a_step_that_fails_is_marked_without_its_error(
    sms: World, instance: dg.DagsterInstance, spans: list[Any]
) -> None:
    away = configured(sms, database_url=SecretStr(NOWHERE))
    result = run(deployed(away), "sms__reconcile", instance, asset_selection=[dg.AssetKey(["sms", "queue_state"])])
    assert failures(result)
    assert [span.status.code for span in spans if "campaign_ops.step" in attributes(span)] == [ERROR]
    assert not any(word in str(span) for span in spans for word in (PASSWORD, "nobody", "127.0.0.1"))


def test_a_refusal_is_no_error(sms: World, instance: dg.DagsterInstance, spans: list[Any]) -> None:
    result = run(
        deployed(configured(sms)),
        "sms__reconcile",
        instance,
        asset_selection=[dg.AssetKey(["sms", "released_credits"])],
    )
    assert result.success, failures(result)
    assert [span.status.code for span in spans if "campaign_ops.step" in attributes(span)] == [0]
