"""An incident from Dagster's own page alone, in a real browser: notice, why, dry run, fix, undo."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from playwright.sync_api import Page, sync_playwright

from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.watch.dagster import Dagster
from tests.conftest import World
from tests.faces.cli.program import configured
from tests.lab.waiting import wait_until

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing: apt-get install chromium"),
]

LOCATION = "campaign_ops.definitions"
CODE = re.compile(r"\b[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}\b")
# Runs start at once: the page is what is tried here, not the queue of runs.
_AT_ONCE = """
telemetry: {enabled: false}
nux: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""


@dataclass
class Operator:
    """A person at Dagster's page."""

    page: Page
    url: str

    def reads(self, path: str, text: str) -> None:
        """Fail unless the page at this path comes to show this text."""
        self.page.goto(self.url + path)
        self.page.get_by_text(text).first.wait_for()

    def launches(self, job: str, config: dict[str, Any]) -> str:
        """Launch a job from its launchpad, filled in; return what the page of the run shows in the end."""
        filled = yaml.safe_dump({"ops": {f"{job}_now": {"config": config}}})
        path = f"/locations/{LOCATION}/jobs/{job}/playground/setup?mode=default&config={quote(filled)}"
        self.page.goto(self.url + path)
        self.page.get_by_role("button", name="Launch Run").first.click()
        self.page.wait_for_url("**/runs/*")
        self.page.get_by_text("RUN_SUCCESS").or_(self.page.get_by_text("RUN_FAILURE")).first.wait_for()
        return self.page.locator("body").inner_text()


@pytest.fixture
def webserver(sms: World, tmp_path: Path) -> Iterator[str]:
    """The address of a webserver with the definitions of the platform."""
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    (home / "dagster.yaml").write_text(_AT_ONCE)
    command = [str(Path(sys.executable).parent / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port)]
    environment = {"DAGSTER_HOME": str(home), "CAMPAIGN_OPS_CONFIG": str(configured(tmp_path, sms).config)}
    process = ChildProcess(
        "webserver",
        [*command, "-m", LOCATION],
        log_path=home / "webserver.log",
        environment={**os.environ, **environment},
    )
    process.start()
    try:
        wait_until(lambda: Dagster(f"http://127.0.0.1:{port}").state() is not None)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop(20)


@pytest.fixture
def operator(webserver: str) -> Iterator[Operator]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        page.set_default_timeout(90_000)
        yield Operator(page, webserver)
        browser.close()


def test_a_person_decides_about_ambiguous_recipients_and_undoes_it(sms: World, operator: Operator) -> None:
    sms.app.add_campaign("marked", pending=3)
    sms.queue.mark(sms.app.pending_ids("marked"))
    page = operator.page
    page.goto(f"{operator.url}/locations/{LOCATION}/jobs/sms__reconcile")
    page.get_by_role("button", name="Materialize all").first.click()
    wait_until(lambda: bool(sms.rows("SELECT 1 FROM campaign_ops.sweep WHERE finished_at IS NOT NULL")))
    operator.reads("/assets/sms/campaign_health?view=overview", "take-as-sent")
    decision = {"campaign_id": "marked", "by": "ann", "reason": "the provider has all of them"}

    tried = operator.launches("sms__take_as_sent", decision | {"dry_run": True})
    (code,) = set(CODE.findall(tried))
    assert len(sms.app.pending_ids("marked")) == 3
    done = operator.launches("sms__take_as_sent", decision | {"dry_run": False, "confirm": code})
    assert sms.app.pending_ids("marked") == [], done
    (repair,) = sms.rows("SELECT id, actor FROM campaign_ops.repair WHERE kind = 'take_as_sent'")
    assert repair["actor"] == "ann"

    undo = {"repair_id": repair["id"], "by": "ann", "reason": "it was the wrong campaign"}
    (code,) = set(CODE.findall(operator.launches("sms__undo_repair", undo | {"dry_run": True})))
    operator.launches("sms__undo_repair", undo | {"dry_run": False, "confirm": code})
    assert len(sms.app.pending_ids("marked")) == 3
