"""The console in a real browser: the way of an incident with and without scripts, accessibility, phones, the keyboard.

axe judges what it can judge of WCAG; a page without violations may still be hard to use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from campaign_ops.core.incidents import Look
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.watch.incidents import update
from campaign_ops.watch.symptoms import look_at
from tests.conftest import World
from tests.faces.cli.program import entry
from tests.faces.http.conftest import Api, Serve

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing: apt-get install chromium"),
]

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
LONG = "x" * 150
"""A name without a space: it must wrap, not widen the page."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A person at a browser, logged in."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def press(self, text: str) -> None:
        """Follow the link, or press the button, that begins with this text."""
        name = self.page.get_by_role("link", name=text).or_(self.page.get_by_role("button", name=text))
        name.first.click()

    def reads(self, text: str) -> None:
        """Fail unless the page comes to show this text."""
        self.page.get_by_text(text).first.wait_for(timeout=60_000)

    def log_in(self, token: str) -> None:
        self.open("/")
        self.page.get_by_label("Token").fill(token)
        self.press("Log in")
        self.page.get_by_role("heading", name="Now", exact=True).wait_for()


@pytest.fixture
def visit(chromium: Browser, api: Api) -> Iterator[Any]:
    """Opens the console as a person who may do everything; afterwards no page may have complained."""
    opened: list[tuple[Any, Visit]] = []

    def _visit(url: str = api.url, token: str | None = None, **options: Any) -> Visit:
        context = chromium.new_context(**options)
        context.set_default_timeout(60_000)
        visit = Visit(context.new_page(), url)
        visit.page.on("console", lambda message: _heard(visit, message))
        visit.page.on("pageerror", lambda error: visit.complaints.append(f"{visit.page.url}: {error}"))
        visit.log_in(token or api.token())
        opened.append((context, visit))
        return visit

    yield _visit
    complaints = [complaint for _, visit in opened for complaint in visit.complaints]
    for context, _ in opened:
        context.close()
    assert complaints == []


def _heard(visit: Visit, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        visit.complaints.append(f"{visit.page.url}: {message.text}")


def build(world: World) -> None:
    """A campaign of each kind that a person meets, a journal, an incident that is open."""
    world.app.add_campaign("done", name="Back in stock", succeeded=5)
    world.app.add_campaign("lost", name="Spring sale", pending=3, succeeded=7)
    world.app.add_campaign("marked", name="Order updates", pending=4)
    world.queue.mark(world.app.pending_ids("marked"))
    world.app.add_reservation("late", campaign="lost", amount=40, expires_in=hours(-1))
    world.app.add_campaign(LONG, name=LONG, tenant=LONG, pending=2)
    world.sweep(actor="night shift")
    world.queue.clear()


def watch(world: World) -> None:
    """Two looks of the watcher, as if some minutes lay between them."""
    found = look_at(world.platform)
    for evidence in ("the first look", "the second look"):
        update(world.platform, Look(found.symptoms, dict.fromkeys(found.judged, evidence)))
        with world.platform.database.transaction() as connection:
            connection.execute(
                sa.text(
                    "UPDATE campaign_ops.incident SET first_seen_at = first_seen_at - interval '1 hour',"
                    " looked_at = looked_at - interval '1 minute'"
                )
            )


SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])


@SCRIPTS
def test_an_incident_from_the_notice_to_the_undo(visit: Any, sms: World, scripts: bool) -> None:
    """Notice, why, decide, try out, reason, confirm, undo: a person decides about ambiguous recipients."""
    build(sms)
    watch(sms)
    ambiguous = sms.app.pending_ids("marked")
    person = visit(java_script_enabled=scripts)
    person.press("the provider may already have some recipients")
    person.reads("Campaigns behind it")
    person.page.locator("#live ul a", has_text="marked").click()
    person.reads("never sent again without a person's decision")
    person.press("Take the ambiguous recipients as sent …")
    person.page.get_by_label("Why?").fill("the provider's log has them")
    person.press("Try it out")
    person.reads("Dry run: nothing was changed")
    assert sms.app.pending_ids("marked") == ambiguous
    person.press("Take the ambiguous recipients as sent")
    person.reads("Done: take as sent")
    assert sms.app.pending_ids("marked") == []
    (repair,) = sms.rows("SELECT actor, person_reason FROM campaign_ops.repair WHERE kind = 'take_as_sent'")
    assert repair == {"actor": "ann", "person_reason": "the provider's log has them"}
    person.press("Undo it")
    person.page.get_by_label("Why?").fill("it was another provider's log")
    person.press("Try it out")
    person.press("Undo it")
    person.reads("Done: undo")
    assert sms.app.pending_ids("marked") == ambiguous


@SCRIPTS
def test_lost_recipients_are_put_back_into_the_queue_and_taken_out_again(visit: Any, sms: World, scripts: bool) -> None:
    sms.app.add_campaign("lost", name="Spring sale", pending=3)
    person = visit(java_script_enabled=scripts)
    person.open("/campaigns/sms?id=lost")
    person.reads("their jobs are in no state of the queue")
    person.press("Put the missing recipients back …")
    person.page.get_by_label("Why?").fill("TICKET-4")
    person.press("Try it out")
    assert sms.queue.live_job_ids() == []
    person.press("Put the missing recipients back")
    person.reads("Done: reenqueue")
    (job,) = sms.queue.live_job_ids()
    assert sms.queue.campaign_of(job) == "lost"
    person.press("Undo it")
    person.page.get_by_label("Why?").fill("they are not lost")
    person.press("Try it out")
    person.press("Undo it")
    person.reads("Done: undo")
    assert sms.queue.live_job_ids() == []


@SCRIPTS
def test_a_tripped_breaker_is_confirmed_from_the_plan(visit: Any, sms: World, scripts: bool) -> None:
    for number in range(12):
        sms.app.add_campaign(f"c{number}", pending=2)
    person = visit(java_script_enabled=scripts)
    person.press("Plan")
    person.reads("reenqueue is held back")
    assert not scripts or faults_of(person.page) == []
    person.page.get_by_label("Why is it right to go on?").fill("emptied on purpose")
    person.press("Confirm and sweep")
    person.reads("The journal of sms")
    assert len(sms.queue.live_job_ids()) == 12


def test_the_page_of_a_sweep_follows_it_to_its_end(visit: Any, serve: Serve, sms: World) -> None:
    """With scripts the page shows the end although nobody touches it, and stays where it is."""
    sms.app.add_campaign("done", name="Back in stock", succeeded=5)
    patient = serve(entry(sms, timeouts={"lock_seconds": 30}))
    person = visit(patient.url, patient.token(on=(sms,)))
    person.press("Plan")
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text('LOCK TABLE "CampaignRecipient" IN ACCESS EXCLUSIVE MODE'))
        person.press("Sweep now")
        person.reads("under way")
        address = person.page.url
    person.reads("The journal of sms")
    assert person.page.url == address
    assert person.page.get_by_text("Back in stock").is_visible()
    assert faults_of(person.page) == []


def test_a_refresh_keeps_the_focus_and_moves_nothing(visit: Any, sms: World) -> None:
    """Somebody who is at a link with the keyboard was thrown back to the top of the page every fifteen seconds."""
    build(sms)
    person = visit(timezone_id="Asia/Kolkata")
    person.open("/campaigns")
    link = person.page.get_by_role("link", name="Order updates")
    link.focus()
    before = link.bounding_box()
    refresh = "htmx.ajax('GET', '/campaigns', {target: '#live', select: '#live', swap: 'outerHTML'})"
    person.page.evaluate(f"document.querySelector('#live').dataset.old = 'yes'; {refresh}")
    person.page.locator("#live:not([data-old])").wait_for()
    assert person.page.evaluate("document.activeElement.textContent") == "Order updates"
    assert person.page.locator("#live time:not([data-shown])").count() == 0
    assert link.bounding_box() == before


def paths(world: World) -> list[str]:
    """Every page of the console, as this world fills it."""
    (incident,) = world.rows("SELECT min(id) AS id FROM campaign_ops.incident WHERE state = 'open'")
    (repair,) = world.rows("SELECT min(id) AS id FROM campaign_ops.repair WHERE kind = 'complete'")
    return [
        "/",
        "/campaigns",
        "/campaigns/sms?id=marked",
        f"/campaigns/sms?id={LONG}",
        "/fix/take-as-sent?platform=sms&target=marked",
        "/plan",
        f"/journal?done={repair['id']}",
        "/queue",
        "/credits",
        "/incidents?all=1",
        f"/incidents/sms/{incident['id']}",
        "/platforms",
        "/platforms/sms/examination",
        "/tokens",
        "/sweeps/sms/none",
    ]


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)], ids=["light-desk", "dark-phone"])
def test_every_page_is_accessible_and_none_scrolls_sideways(
    visit: Any, sms: World, scheme: str, size: dict[str, int]
) -> None:
    build(sms)
    watch(sms)
    person, faults = visit(color_scheme=scheme, viewport=size), []
    for path in paths(sms):
        person.open(path)
        person.page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        faults += [f"{path}: {fault}" for fault in faults_of(person.page)]
    person.open("/fix/take-as-sent?platform=sms&target=marked")
    person.page.get_by_label("Why?").fill("a look")
    person.press("Try it out")
    person.reads("Dry run")
    faults += [f"dry run: {fault}" for fault in faults_of(person.page)]
    person.press("Log out")
    person.page.get_by_label("Token").wait_for()
    faults += [f"login: {fault}" for fault in faults_of(person.page)]
    assert faults == []


def faults_of(page: Page) -> list[str]:
    """What axe finds, and by how much the page is too wide."""
    root = "document.documentElement"
    wide = page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
    results = Axe().run(page).response
    faults = [
        f"{violation['id']}: {node['html'][:200]}" for violation in results["violations"] for node in violation["nodes"]
    ]
    return [*faults, *([f"{wide} pixels too wide"] if wide > 0 else [])]


def test_the_keyboard_alone_reaches_the_content_and_the_fix(visit: Any, sms: World) -> None:
    sms.app.add_campaign("done", name="Back in stock", succeeded=5)
    person = visit()
    person.open("/fix/mark-complete?platform=sms&target=done")
    person.page.keyboard.type("TICKET-5")  # the reason has the focus
    person.page.keyboard.press("Tab")
    person.page.keyboard.press("Enter")
    person.reads("Dry run: nothing was changed")
    person.page.keyboard.press("Enter")  # so has the button
    person.reads("Done: complete")
    assert sms.app.campaign("done")["status"] == "sent"
    person.open("/queue")
    person.page.keyboard.press("Tab")
    person.page.keyboard.press("Enter")
    assert person.page.evaluate("document.activeElement.id") == "main"


def test_hostile_words_run_nowhere(visit: Any, sms: World) -> None:
    hostile = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
    sms.app.add_campaign("bad", name=hostile, tenant=hostile, pending=3)
    sms.sweep(actor=hostile)
    person = visit()
    for path in ("/", "/campaigns", "/campaigns/sms?id=bad", "/plan", "/journal", f"/journal?campaign={hostile}"):
        person.open(path)
        assert person.page.title() != "run", path
        assert person.page.locator("main img").count() == 0, path
