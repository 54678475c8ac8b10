"""Traces of a command, as a collector gets them: a real process, the real protocol, a server that takes it."""

from __future__ import annotations

from pathlib import Path

from tests.collector import Collector, attributes
from tests.conftest import World
from tests.faces.cli.program import AWAY, configured


def test_a_sweep_is_a_span_for_each_platform_and_one_below_it_for_each_step(
    sms: World, tmp_path: Path, collector: Collector
) -> None:
    endpoint, spans = collector.endpoint, collector.spans
    sms.app.add_campaign("lost", pending=3, name="Spring sale")
    ended = configured(tmp_path, sms, AWAY).process("reconcile", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert ended.returncode == 1
    whole = {attributes(span)["campaign_ops.platform"]: span for span in spans if not span.parent_span_id}
    assert {span.name for span in whole.values()} == {"campaign-ops reconcile"}
    assert attributes(whole["sms"])["campaign_ops.exit_code"] == 0
    assert attributes(whole["away"])["campaign_ops.exit_code"] == 1
    assert (whole["sms"].status.code, whole["away"].status.code) == (0, 2)
    steps = [span for span in spans if span.parent_span_id == whole["sms"].span_id]
    assert [span.name for span in sorted(steps, key=lambda span: span.start_time_unix_nano)] == [
        "waiting for the sweep lock",
        "looking for stuck campaigns",
        # something is stuck: the whole sweep, from the beginning
        "waiting for the sweep lock",
        "looking for stuck campaigns",
        "reading the queue",
        "counting the recipients of campaigns",
        "comparing pending recipients with live jobs",
        "putting jobs back into the queue",
        "writing the report",
    ]
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    assert not any(word in str(span) for span in spans for word in ("Spring sale", "lost", "nobody"))


def test_a_collector_that_is_away_changes_nothing(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("done", succeeded=3)
    ended = configured(tmp_path, sms).process("reconcile", "--json", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert ended.returncode == 0
    assert sms.app.campaign("done")["status"] == "sent"
    assert "Traceback" not in ended.stderr


def test_without_a_collector_no_exporter_is_loaded(sms: World, tmp_path: Path) -> None:
    ended = configured(tmp_path, sms).process("status", PYTHONPROFILEIMPORTTIME="1")
    assert ended.returncode == 0
    assert "opentelemetry.exporter" not in ended.stderr
