"""Takes the pictures of docs/console.md from the demo's data, with Chromium: `make screenshots`."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
import uvicorn
from playwright.sync_api import Page, sync_playwright

from campaign_ops.core.incidents import Look
from campaign_ops.faces.http.app import create_app
from campaign_ops.faces.http.gate import Access
from campaign_ops.faces.http.server import server_config
from campaign_ops.faces.http.service import Service
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.demo.stuck_platforms import build_sms, write_config
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.platform import Platform
from campaign_ops.settings import connect, load_settings
from campaign_ops.sweep import Sweep
from campaign_ops.watch.incidents import update
from campaign_ops.watch.symptoms import look_at

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
SIZE = (1040, 860)
LARGEST = 150_000  # bytes of one picture


def main() -> None:
    """Build the demo's platform, sweep and watch it, and photograph the console on the way."""
    with tempfile.TemporaryDirectory() as work_dir, EmbeddedServers(Path(work_dir)) as servers:
        demo = build_sms(servers)
        try:
            settings = load_settings(write_config(Path(work_dir) / "campaign_ops.yaml", [demo]))
            with closing(connect(settings.platform("sms"))) as platform:
                migrate(platform.database)
                Sweep(platform, run_id=uuid4().hex, trigger="schedule", actor="schedule").run()
                _watch(platform)
            with _serving(Service(settings, Access(open_as="ann"))) as url:
                _photograph(url, demo)
        finally:
            demo.stop_workers()


def _watch(platform: Platform) -> None:
    """Two looks of the watcher, the first of them an hour ago."""
    found = look_at(platform)
    for evidence in ("first", "second"):
        update(platform, Look(found.symptoms, dict.fromkeys(found.judged, evidence)))
        with platform.database.transaction() as connection:
            moved = sa.text("UPDATE campaign_ops.incident SET first_seen_at = first_seen_at - CAST(:hour AS interval)")
            connection.execute(moved, {"hour": timedelta(hours=1)})


@contextmanager
def _serving(service: Service) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(server_config(create_app(service), "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def _photograph(url: str, demo: DemoPlatform) -> None:
    ambiguous, width, height = demo.roles["ambiguous"], *SIZE
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="light",
            locale="en-GB",
            timezone_id="Europe/Berlin",
        )
        page.set_default_timeout(120_000)
        page.goto(url)
        _picture(page, "now")
        page.goto(f"{url}/campaigns/sms?id={ambiguous}")
        _picture(page, "campaign")
        page.goto(f"{url}/fix/take-as-sent?platform=sms&target={ambiguous}")
        page.get_by_label("Why?").fill("TICKET-42: the provider's log has all of them")
        page.get_by_role("button", name="Try it out").click()
        _picture(page, "dry-run")
        demo.stop_workers()
        _lose(demo)
        page.goto(f"{url}/plan?platform=sms")
        _picture(page, "plan")


def _lose(demo: DemoPlatform) -> None:
    """Empty the queue, as a Redis without persistence does when it restarts."""
    with closing(demo.queue()) as queue:
        queue.clear()


def _picture(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    path = IMAGES / f"console-{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size < LARGEST, f"{path} is too large"
    print(path)  # noqa: T201


if __name__ == "__main__":
    main()
