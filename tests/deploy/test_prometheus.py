"""The shipped rules and dashboard in the real programs: promtool, and Prometheus with Alertmanager on a platform."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from campaign_ops.core.causes import Cause
from campaign_ops.core.incidents import Symptom
from campaign_ops.faces.metrics import CachedExposition, samples
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.queries.metrics import platform_metrics
from campaign_ops.watch.symptoms import RESTARTS_AN_HOUR
from tests.conftest import Templates, World, Worlds
from tests.lab.waiting import wait_until
from tests.watch.looking import open_one

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "campaign_ops.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "campaign_ops.json"
METRIC = re.compile(r"\b(?:campaign_ops_|campaigns_|queue_sms_|reconciliation_jobs_)\w+")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(
    None in (shutil.which("prometheus"), shutil.which("prometheus-alertmanager")),
    reason="prometheus or prometheus-alertmanager is not installed",
)


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ["check", "rules", "campaign_ops.rules.yml"],
        ["test", "rules", "campaign_ops.tests.yml"],
        ["check", "config", "prometheus.yml"],
    ],
    ids=" ".join,
)
def test_promtool_accepts_what_is_shipped(words: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_of_its_own_and_a_next_step() -> None:
    alerts = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
    ]
    tested = (DEPLOY / "prometheus" / "campaign_ops.tests.yml").read_text()
    for alert in alerts:
        assert f"alertname: {alert['alert']}\n        exp_alerts" in tested, alert["alert"]
        assert alert["annotations"]["next"]
        assert alert["labels"]["severity"] in ("warning", "critical")


@dataclass
class Monitoring:
    """A Prometheus that scrapes a platform every half second, an Alertmanager, and what that has sent."""

    url: str
    heard: list[tuple[str, str]] = field(default_factory=list)

    def query(self, expression: str) -> list[dict[str, Any]]:
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=120) as answer:
            document = json.load(answer)
        assert document["status"] == "success"
        return list(document["data"]["result"])


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def hurried(rules: str) -> str:
    """The same rules with every time to wait cut to a second; nothing else is changed."""
    return re.sub(r"^(\s+for:) \w+$", r"\1 1s", rules, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def sms(servers: EmbeddedServers, templates: Templates) -> Iterator[World]:
    """One platform for the module: its Prometheus and Alertmanager take seconds to start."""
    worlds = Worlds(servers, templates)
    yield worlds.make("sms")
    worlds.close()


@pytest.fixture(scope="module")
def monitoring(sms: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    tmp_path = tmp_path_factory.mktemp("monitoring")
    exposition = CachedExposition(lambda: [("sms", samples(platform_metrics(sms.platform)))], seconds=0)
    heard: list[tuple[str, str]] = []

    class Exporter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposition().encode())

        def log_message(self, *_: object) -> None:
            pass

    class Receiver(Exporter):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.extend((alert["labels"]["alertname"], alert["status"]) for alert in document["alerts"])
            self.send_response(200)
            self.end_headers()

    with ExitStack() as stack:
        exporter, receiver = stack.enter_context(listening(Exporter)), stack.enter_context(listening(Receiver))
        prometheus, manager = free_port(), free_port()
        (tmp_path / "rules.yml").write_text(hurried(RULES.read_text()))
        (tmp_path / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms", "scrape_timeout": "500ms"},
                    "rule_files": ["rules.yml"],
                    "scrape_configs": [
                        {"job_name": "campaign_ops", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
                    ],
                    "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]},
                }
            )
        )
        (tmp_path / "manager.yml").write_text(
            yaml.safe_dump(
                {
                    "route": {
                        "receiver": "hook",
                        "group_by": ["alertname"],
                        "group_wait": "100ms",
                        "group_interval": "500ms",
                    },
                    "receivers": [
                        {"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{receiver}/"}]},
                    ],
                }
            )
        )
        for name, command in {
            "prometheus": [
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            ],
            "alertmanager": [
                "prometheus-alertmanager",
                f"--config.file={tmp_path}/manager.yml",
                f"--storage.path={tmp_path}/manager",
                f"--web.listen-address=127.0.0.1:{manager}",
                "--cluster.listen-address=",
            ],
        }.items():
            process = ChildProcess(name, command, log_path=tmp_path / f"{name}.log")
            process.start()
            stack.callback(process.stop, 10)
        running = Monitoring(f"http://127.0.0.1:{prometheus}", heard)
        wait_until(lambda: _answers(running))
        yield running


def _answers(monitoring: Monitoring) -> bool:
    try:
        return bool(monitoring.query("campaign_ops_source_up"))
    except OSError:
        return False


@needs_prometheus
@pytest.mark.slow
def test_the_runbooks_alerts_fire_for_a_living_platform_and_resolve(sms: World, monitoring: Monitoring) -> None:
    """Stuck campaigns and a queue that backs up; and the watch over the sweep itself. Restarts count for an hour."""
    alerts = ("CampaignsStuck", "QueueBacklog", "SweepStale")
    waiting = f"{sms.queue.prefix}:sms-send:wait"
    sms.app.add_campaign("lost", pending=3, updated_ago=hours(2))
    with connected(sms) as client:
        client.rpush(waiting, *(f"gone-{number}" for number in range(10_001)))
        sms.sweep()
        sms.rows("UPDATE campaign_ops.sweep SET finished_at = now() - interval '31 minutes' RETURNING id")
        wait_until(lambda: {(alert, "firing") for alert in alerts} <= {*monitoring.heard})
        client.delete(waiting)
    sms.rows("UPDATE public.\"Campaign\" SET status = 'cancelled' RETURNING id")
    sweep_with_new_workers(sms, 2)  # Prometheus sees no increase in a counter that it has not seen before
    wait_until(lambda: bool(monitoring.query("campaign_ops_worker_restarts_total")))
    sweep_with_new_workers(sms, RESTARTS_AN_HOUR + 1)
    restarting = ("WorkersRestarting", "firing")
    wait_until(lambda: {*((alert, "resolved") for alert in alerts), restarting} <= {*monitoring.heard})


@needs_prometheus
@pytest.mark.slow
def test_every_query_of_the_dashboard_returns_data(sms: World, monitoring: Monitoring) -> None:
    sms.app.add_campaign("lost again", pending=3, updated_ago=hours(2))
    sms.app.add_reservation("held", campaign="lost again")
    sweep_with_new_workers(sms, 2)
    open_one(sms, Symptom(Cause.STUCK, count=1))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"].replace("$platform", ".*") for panel in panels for target in panel["targets"]]
    assert len(queries) > 10
    wait_until(lambda: not [query for query in queries if not monitoring.query(query)])


def sweep_with_new_workers(world: World, sweeps: int) -> None:
    """Sweep so often: the worker of each sweep but the first has taken the place of the one before."""
    for _ in range(sweeps):
        with connected(world) as worker:
            worker.client_setname(f"{world.queue.prefix}:sms-send:w:first")
            world.sweep(trigger="schedule")


@contextmanager
def connected(world: World) -> Iterator[Any]:
    assert world.queue_url is not None
    with redis.Redis.from_url(world.queue_url, decode_responses=True) as client:
        yield client


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    """And the alerts' labels are ones that the metrics have."""
    from campaign_ops.faces.metrics import FAMILIES

    texts = [RULES.read_text(), *re.findall(r'"expr": "(.*)"', DASHBOARD.read_text())]
    named = {name for text in texts for name in METRIC.findall(text)}
    assert named - {"reconciliation_jobs_completed"} <= {*FAMILIES}
    assert len(named) > 15
