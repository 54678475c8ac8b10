"""The console's pages as a browser without scripts meets them: what they show, to whom, and what their forms do."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import sqlalchemy as sa

from campaign_ops.core.causes import Cause
from campaign_ops.core.incidents import Look, Symptom
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.http.console import incidents as incident_pages
from campaign_ops.faces.http.gate import COOKIE, Access
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.watch.incidents import acknowledge, resolve, update
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, BROKEN
from tests.faces.http.conftest import Api, Serve

HTML = {"Accept": "text/html"}
PAGES = (
    "/",
    "/campaigns",
    "/plan",
    "/journal",
    "/queue",
    "/credits",
    "/incidents",
    "/platforms",
    "/platforms/sms/examination",
    "/tokens",
)
FOR_ALL_TENANTS = ("/plan", "/queue", "/platforms/sms/examination", "/tokens", "/sweeps/sms/none")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u202e"


class Browser:
    """A browser with a session: it keeps cookies, follows redirects, and fills in the forms that it was shown."""

    def __init__(self, api: Api, token: str) -> None:
        self.api = api
        self.client = api.client(**HTML)
        self.client.cookies.set(COOKIE, token)
        self.page = ""

    def open(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text[:2000]
        self.page = answer.text
        return self.page

    def submit(self, action: str, status: int = 303, **fields: str) -> httpx.Response:
        """Send the form with this action, with what its hidden fields hold."""
        form = next(form for form in re.findall(r"<form.*?</form>", self.page, re.DOTALL) if f'"{action}"' in form)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
        answer = self.client.post(action, data=hidden | fields)
        assert answer.status_code == status, answer.text[:2000]
        self.page = answer.text
        return answer


@pytest.fixture
def browser(api: Api) -> Browser:
    """A browser of a person who may do everything."""
    return Browser(api, api.token())


def eventually(look: Callable[[], Any]) -> Any:
    """What a look gives as soon as it gives something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def open_incident(world: World, *campaigns: str, tenants: tuple[str, ...] = (), detail: str = "2 h ago") -> int:
    symptom = Symptom(Cause.SWEEP_STALE, count=1, campaigns=campaigns, tenants=tenants, detail=detail)
    update(world.platform, Look((symptom,), {Cause.SWEEP_STALE: ""}))
    (row,) = world.rows("SELECT id FROM campaign_ops.incident")
    return int(row["id"])


def trip_the_breaker(world: World) -> None:
    for number in range(12):
        world.app.add_campaign(f"c{number}", pending=2)


# -- plan and breaker -------------------------------------------------------------------------------------------------


def test_the_plan_shows_what_a_sweep_would_do_and_changes_nothing(browser: Browser, sms: World) -> None:
    sms.app.add_campaign("done", name="Spring sale", succeeded=5)
    before = sms.app.fingerprint()
    page = browser.open("/plan")
    assert "Spring sale" in page
    assert "planned" in page
    assert sms.app.fingerprint() == before


def test_sweep_now_sweeps_in_the_visitors_name_and_shows_the_end(browser: Browser, sms: World) -> None:
    sms.app.add_campaign("done", name="Spring sale", succeeded=5)
    browser.open("/plan")
    place = browser.submit("/plan/sweep").headers["location"]
    page = eventually(lambda: page if "http-equiv" not in (page := browser.open(place)) else None)
    assert "Spring sale" in page
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.rows("SELECT trigger, actor FROM campaign_ops.sweep") == [{"trigger": "http", "actor": "ann"}]
    (audit,) = sms.rows("SELECT path, status, actor FROM campaign_ops.audit")
    assert audit == {"path": "/plan/sweep", "status": 202, "actor": "ann"}


def test_while_a_sweep_is_under_way_another_is_refused_on_the_page(browser: Browser, sms: World) -> None:
    browser.open("/plan")
    with sms.platform.lock(wait_seconds=0).hold():
        browser.submit("/plan/sweep", 409)
    assert "another sweep" in browser.page
    assert sms.rows("SELECT 1 FROM campaign_ops.sweep") == []


def test_a_person_confirms_what_the_breaker_holds_back(browser: Browser, sms: World) -> None:
    trip_the_breaker(sms)
    page = browser.open("/plan")
    assert "is held back" in page
    browser.submit("/plan/confirm", 422, reason="  ")
    assert sms.queue.live_job_ids() == []
    place = browser.submit("/plan/confirm", reason="emptied on purpose").headers["location"]
    eventually(lambda: "http-equiv" not in browser.open(place))
    assert len(sms.queue.live_job_ids()) == 12
    (confirmed,) = sms.rows("SELECT actor, person_reason FROM campaign_ops.repair WHERE kind = 'confirm'")
    assert confirmed == {"actor": "ann", "person_reason": "emptied on purpose"}
    audit = sms.rows("SELECT path, status, why FROM campaign_ops.audit ORDER BY id")
    assert audit == [{"path": "/plan/confirm", "status": 202, "why": "emptied on purpose"}]


def test_a_person_confirms_an_emptied_queue_that_holds_nothing_back(browser: Browser, sms: World) -> None:
    sms.queue.add("other", "shop_north", ["r1"])
    sms.sweep()
    sms.queue.clear()
    sms.sweep()
    page = browser.open("/plan")
    assert "Confirm the queue" in page
    assert "queue sms-send: it did not exist under this prefix." in page
    place = browser.submit("/plan/confirm", reason="made again").headers["location"]
    eventually(lambda: "http-equiv" not in browser.open(place))
    assert sms.rows("SELECT emptied FROM campaign_ops.queue_sighting") == [{"emptied": ""}]
    assert "Confirm the queue" not in browser.open("/plan")


def test_without_the_scope_the_plan_has_no_form_and_a_forged_one_does_nothing(api: Api, sms: World) -> None:
    trip_the_breaker(sms)
    owner, reader = Browser(api, api.token()), Browser(api, api.token(Scope.READ))
    owner.open("/plan")
    assert "/plan/sweep" not in reader.open("/plan")
    assert 'action="/plan/confirm"' not in reader.page
    key = reader.client.cookies["campaign_ops_form"]
    code = re.search(r'name="code" value="([^"]+)"', owner.page)
    assert code is not None
    fields = {"form_key": key, "platform": "sms", "code": code[1], "reason": "please"}
    assert reader.client.post("/plan/confirm", data=fields).status_code == 403
    assert reader.client.post("/plan/sweep", data=fields).status_code == 403
    assert sms.queue.live_job_ids() == []
    assert sms.rows("SELECT 1 FROM campaign_ops.sweep") == []


def test_doubts_about_the_queue_are_on_the_plan(browser: Browser, sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    sms.sweep()
    sms.queue.clear()
    assert "Doubts about the queue" in browser.open("/plan")


# -- journal ----------------------------------------------------------------------------------------------------------


def test_the_journal_shows_who_why_and_what_changed_and_leads_to_the_undo(browser: Browser, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    sms.sweep(actor="night shift")
    page = browser.open("/journal")
    assert "night shift" in page
    assert "<del>sending</del>" in page
    assert "<ins>sent</ins>" in page
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    undo = f"/fix/undo?platform=sms&amp;target={repair['id']}"
    assert undo in page
    browser.open(undo.replace("&amp;", "&"))
    browser.submit("/fix/undo", 200, reason="too early")
    place = browser.submit("/fix/undo").headers["location"]
    assert sms.app.campaign("done")["status"] == "sending"
    assert "Done: undo" in browser.open(place)
    browser.open(f"/fix/undo?platform=sms&target={10**20}")
    browser.submit("/fix/undo", 404, reason="why")
    assert "there is no such repair" in browser.page, "the answer was the database's complaint about bigint"


def test_the_journal_goes_on_page_by_page_and_filters(browser: Browser, sms: World) -> None:
    for number in range(35):
        sms.app.add_campaign(f"done{number:02}", succeeded=1)
    sms.confirmed_sweep()
    seen, path = set(), "/journal?kind=complete"
    while path:
        page = browser.open(path)
        seen |= set(re.findall(r"/campaigns/sms\?id=(done\d\d)", page))
        link = re.search(r'href="(/journal\?[^"]*cursor[^"]*)">Older', page)
        path = link[1].replace("&amp;", "&") if link else ""
    assert len(seen) == 35
    assert set(re.findall(r"/campaigns/sms\?id=(done\d\d)", browser.open("/journal?campaign=done07"))) == {"done07"}
    assert "Nothing was repaired as filtered" in browser.open("/journal?kind=release")
    browser.open("/journal?kind=nonsense", 422)  # ignored, it showed everything
    browser.open("/campaigns?verdict=nonsense", 422)
    browser.open("/fix/undo?platform=sms&target=1")
    assert "holds what no text holds" in browser.submit("/fix/undo", 422, reason="why", confirm="\0").text


# -- queue and workers ------------------------------------------------------------------------------------------------


def test_the_queue_page_shows_states_and_that_it_is_paused(browser: Browser, sms: World) -> None:
    assert "No sweep has looked at its queue yet" in browser.open("/queue")
    sms.app.add_campaign("lost", pending=3)
    sms.sweep()
    sms.queue.pause()
    sms.sweep()
    page = browser.open("/queue")
    assert ">paused</span>" in page
    assert re.search(r"<dt>Waiting for a worker</dt><dd>1</dd>", page)


def test_what_is_not_known_of_a_queue_is_shown_as_unknown(serve: Serve, worlds: Worlds) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1/0")
    world.sweep()
    api = serve(world)
    page = Browser(api, api.token()).open("/queue")
    assert "Redis cannot be reached" in page
    assert set(re.findall(r"<dt>(?:Waiting for a worker|active|Workers)</dt><dd>([^<]*)</dd>", page)) == {"unknown"}
    assert not re.search(r"<dd>0</dd>", page)


def test_a_look_of_yesterday_says_nothing_about_now(browser: Browser, sms: World) -> None:
    sms.sweep()
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.queue_look SET seen_at = now() - interval '1 day'"))
    page = browser.open("/queue")
    assert "too old to say anything about now" in page
    assert not re.search(r"<dd>0</dd>", page)


# -- credits ----------------------------------------------------------------------------------------------------------


def test_credits_show_what_a_sweep_left_and_lead_to_the_release(browser: Browser, sms: World) -> None:
    sms.app.add_campaign("slow", tenant="shop_north", pending=3)
    sms.app.add_reservation("late", campaign="slow", tenant="shop_north", amount=40, expires_in=hours(-1))
    assert "No sweep has looked yet" in browser.open("/credits")
    sms.sweep()
    page = browser.open("/credits")
    assert "expired, held: its campaign is still sending" in page
    assert "needs a person" in page
    assert "/fix/release?platform=sms&amp;target=late" in page
    assert re.search(r"shop_north</th><td[^>]*>40</td>", page)


def test_a_reservation_that_was_released_since_is_no_longer_left(browser: Browser, sms: World) -> None:
    sms.app.add_campaign("slow", pending=3)
    sms.app.add_reservation("late", campaign="slow", amount=12, expires_in=hours(-1))
    sms.sweep()
    sms.app.set_campaign("slow", status="cancelled")
    assert "target=late" in browser.open("/credits")
    assert 'href="/credits?platform=sms"' in browser.open("/fix/release?platform=sms&target=late")
    browser.submit("/fix/release", 200, reason="TICKET-9")
    place = browser.submit("/fix/release").headers["location"]
    assert sms.app.reservation("late")["status"] == "released"
    assert "Done: release" in browser.open(place)
    assert "target=late" not in browser.open("/credits")


def test_leaked_credits_are_those_that_a_breaker_holds_back(serve: Serve, worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"breaker_floor": 1})
    for number in range(12):
        world.app.add_campaign(f"over{number}", tenant="shop_north", status="cancelled")
        world.app.add_reservation(f"leak{number}", campaign=f"over{number}", tenant="shop_north", amount=2)
    world.sweep()
    assert {world.app.reservation(f"leak{number}")["status"] for number in range(12)} == {"active"}
    api = serve(world)
    page = Browser(api, api.token()).open("/credits")
    assert re.search(r"shop_north</th><td[^>]*>24</td><td[^>]*>0</td><td[^>]*>24</td>", page)


def test_a_platform_without_reservations_says_so(serve: Serve, messenger: World) -> None:
    api = serve(messenger)
    assert "no credit reservations" in Browser(api, api.token()).open("/credits")


# -- incidents --------------------------------------------------------------------------------------------------------


def test_an_incident_is_acknowledged_silenced_and_resolved(browser: Browser, sms: World) -> None:
    number = open_incident(sms, "c1")
    path = f"/incidents/sms/{number}"
    assert path in browser.open("/incidents")
    assert "/campaigns/sms?id=c1" in browser.open(path)
    browser.submit(f"{path}/acknowledge", reason="on it")
    browser.open(path)
    key = re.search(r'name="form_key" value="([^"]+)"', browser.page)
    assert key is not None
    silence = {"form_key": key[1], "reason": "until noon", "minutes": "120"}
    assert browser.client.post(f"{path}/silence", data=silence).status_code == 303
    (row,) = sms.rows("SELECT state, handled_by, silenced_until > now() AS silent FROM campaign_ops.incident")
    assert row == {"state": "silenced", "handled_by": "ann", "silent": True}
    page = browser.open(path)
    assert "Silenced until" in page
    resolve = {"form_key": key[1], "reason": "mended"}
    assert browser.client.post(f"{path}/resolve", data=resolve).status_code == 303
    assert sms.rows("SELECT state FROM campaign_ops.incident") == [{"state": "resolved"}]
    again = browser.client.post(f"{path}/resolve", data=resolve)
    assert again.status_code == 409
    assert "resolved, not open" in again.text
    assert path not in browser.open("/incidents")
    assert path in browser.open("/incidents?all=1")
    events = sms.rows("SELECT what, actor, reason FROM campaign_ops.incident_event ORDER BY id")[1:]
    assert [tuple(event.values()) for event in events] == [
        ("acknowledged", "ann", "on it"),
        ("silenced", "ann", "until noon"),
        ("resolved", "ann", "mended"),
    ]
    audit = sms.rows("SELECT status, why FROM campaign_ops.audit ORDER BY id")
    assert [tuple(row.values()) for row in audit[:3]] == [(200, "on it"), (200, "until noon"), (200, "mended")]
    assert audit[3]["status"] == 409


def test_an_incident_leads_to_the_page_that_helps_with_it(browser: Browser, sms: World) -> None:
    number = open_incident(sms)
    assert 'href="/plan?platform=sms">Plan, and sweep now' in browser.open(f"/incidents/sms/{number}")
    for address, _ in incident_pages.PAGES.values():
        browser.open(address.format("sms"))


@pytest.mark.parametrize("minutes", ["", "0", "-5", "99999999", "1e3"])
def test_a_time_that_is_not_offered_silences_nothing(browser: Browser, sms: World, minutes: str) -> None:
    number = open_incident(sms)
    browser.open(f"/incidents/sms/{number}")
    browser.submit(f"/incidents/sms/{number}/silence", 422, reason="quiet", minutes=minutes)
    assert sms.rows("SELECT state FROM campaign_ops.incident") == [{"state": "open"}]


def test_without_its_scope_an_incident_is_only_shown(api: Api, sms: World) -> None:
    number = open_incident(sms)
    reader = Browser(api, api.token(Scope.READ))
    assert "/acknowledge" not in reader.open(f"/incidents/sms/{number}")
    fields = {"form_key": reader.client.cookies["campaign_ops_form"], "reason": "on it"}
    assert reader.client.post(f"/incidents/sms/{number}/acknowledge", data=fields).status_code in (403, 404)
    assert sms.rows("SELECT state FROM campaign_ops.incident") == [{"state": "open"}]
    assert reader.client.get("/incidents/sms/4711").status_code == 404


# -- platforms and tokens ---------------------------------------------------------------------------------------------


def test_platforms_show_settings_findings_and_mistakes_but_no_secret(serve: Serve, sms: World) -> None:
    secret = {"name": "away", "profile": "messenger", "database_url": "postgresql://nobody:hunter2@127.0.0.1:1/x"}
    api = serve(sms, secret, BROKEN)
    browser = Browser(api, api.token())
    page = browser.open("/platforms")
    assert "*/10 * * * *" in page
    assert "queu_url" in page
    assert "broken" in page
    findings = browser.open("/platforms/sms/examination")
    assert "PostgreSQL at" in findings
    assert "hunter2" not in page + findings


def test_the_doctor_names_the_mend(browser: Browser, sms: World) -> None:
    sms.queue.pause()
    page = browser.open("/platforms/sms/examination")
    assert "Works, and needs attention" in page
    assert "Mend:" in page


def test_a_platform_is_ok_only_while_nothing_needs_a_person(api: Api, sms: World) -> None:
    """The badge said "ok" beside a critical incident, quarantined campaigns and a breaker: it meant "swept lately"."""
    browser = Browser(api, api.token())
    bound = Browser(api, api.token(tenants=frozenset({"shop_north"})))

    def badges(visitor: Browser = browser) -> set[str]:
        api.service.__dict__.pop("health", None)  # what is remembered for some seconds
        return {
            badge for path in ("/", "/platforms") for badge in re.findall(r"<h2>sms (<.*?>)</h2>", visitor.open(path))
        }

    good, bad = '<span class="badge good">ok</span>', '<span class="badge bad">needs attention</span>'
    sms.sweep()
    assert badges() == {good}
    number = open_incident(sms)
    assert badges() == {bad}
    acknowledge(sms.platform, number, by="ann", reason="on it")
    assert badges() == {bad}
    resolve(sms.platform, number, by="ann", reason="mended")
    assert badges() == {good}
    sms.app.add_campaign("empty", updated_ago=hours(1))
    sms.sweep()
    assert badges() == {bad}, "a campaign needs a person"
    sms.app.set_campaign("empty", status="sent")
    sms.sweep()
    assert badges() == {good}
    trip_the_breaker(sms)
    sms.sweep()
    assert badges() == {bad}, "a breaker holds repairs back"
    # Of other tenants' trouble nothing is shown, so that nothing is said of the whole platform.
    assert badges(bound) == {'<span class="badge">swept</span>'}


def test_without_a_watcher_the_pages_ask_for_it(api: Api, sms: World) -> None:
    """They said "No incident is open." hours after the last watcher had died."""
    browser, asked = Browser(api, api.token()), "is `campaign-ops watch` or Dagster&#39;s sensor `incidents` running?"
    sms.sweep()
    for age, words in ((None, "no watcher has looked yet: "), (25, "the last look of a watcher is 25 min old: ")):
        if age is not None:
            update(sms.platform, Look())
            assert asked not in pulsed(browser, "/") + browser.open("/incidents")
            sms.rows("UPDATE campaign_ops.watcher_look SET looked_at = now() - interval '25 minutes' RETURNING tables")
        assert f"sms: {words}{asked}" in pulsed(browser, "/")
        assert f"sms: {words}{asked}" in browser.open("/incidents")
    (known,) = browser.client.get("/api/incidents").json()["platforms"]
    assert known["last_look_at"] is not None


def pulsed(browser: Browser, path: str) -> str:
    """A page without what the service remembers for some seconds."""
    browser.api.service.__dict__.pop("health", None)
    return browser.open(path)


def test_tokens_and_attempts_are_shown_without_a_secret(api: Api, sms: World) -> None:
    text = api.token(name="night shift", tenants=frozenset({"shop_north"}))
    browser = Browser(api, api.token(name="ann"))
    browser.open("/plan")
    browser.submit("/plan/sweep")
    page = eventually(lambda: page if "/plan/sweep" in (page := browser.open("/tokens")) else None)
    assert "night shift" in page
    assert "shop_north" in page
    assert "campaign-ops token revoke" in page
    (row,) = sms.rows("SELECT hash FROM campaign_ops.token WHERE name = 'night shift'")
    assert text.split("_")[2] not in page
    assert row["hash"] not in page


def test_a_platform_that_is_away_does_not_hide_the_others(serve: Serve, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=2)
    sms.sweep()
    api = serve(sms, AWAY)
    browser = Browser(api, api.token())
    for path in PAGES:
        browser.open(path)


# -- who sees what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FOR_ALL_TENANTS)
def test_a_page_about_all_tenants_says_so_to_a_visitor_of_one(api: Api, sms: World, path: str) -> None:
    bound = Browser(api, api.token(tenants=frozenset({"shop_north"})))
    page = bound.open(path, 403)
    assert "about all tenants" in page
    assert 'href="/campaigns"' in page


def test_a_visitor_of_one_tenant_sees_what_is_theirs_alone(api: Api, sms: World) -> None:
    sms.queue.pause()
    for tenant in ("shop_north", "shop_south"):
        sms.app.add_campaign(f"over_{tenant}", tenant=tenant, succeeded=3)
        sms.app.add_campaign(f"stuck_{tenant}", tenant=tenant, pending=3)
        sms.app.add_reservation(
            f"late_{tenant}", campaign=f"stuck_{tenant}", tenant=tenant, amount=7, expires_in=hours(-1)
        )
    sms.confirmed_sweep()
    number = open_incident(sms, "stuck_shop_south", tenants=("shop_south",))
    bound = Browser(api, api.token(tenants=frozenset({"shop_north"})))
    for path in ("/", "/campaigns", "/journal", "/credits", "/incidents?all=1", "/platforms"):
        assert "shop_south" not in bound.open(path), path
    assert "over_shop_north" in bound.open("/journal")
    assert "late_shop_north" in bound.open("/credits")
    bound.open(f"/incidents/sms/{number}", 404)
    absent = bound.open("/incidents/sms/4711", 404)
    assert 'aria-label="Pages"' in absent
    assert re.sub(r"\d+", "", absent) == re.sub(r"\d+", "", bound.open(f"/incidents/sms/{number}", 404))
    fields = {"form_key": bound.client.cookies["campaign_ops_form"], "platform": "sms", "reason": "mine"}
    assert bound.client.post("/plan/sweep", data=fields).status_code == 403
    assert bound.client.post(f"/incidents/sms/{number}/resolve", data=fields).status_code == 404
    assert sms.rows("SELECT state FROM campaign_ops.incident") == [{"state": "open"}]


def test_a_form_without_its_key_changes_nothing(browser: Browser, sms: World) -> None:
    trip_the_breaker(sms)
    number = open_incident(sms)
    page = browser.open("/plan")
    code = re.search(r'name="code" value="([^"]+)"', page)
    assert code is not None
    fields = {"platform": "sms", "code": code[1], "reason": "forged", "minutes": "120"}
    for key in ({}, {"form_key": ""}, {"form_key": "guess"}):
        for path in ("/plan/sweep", "/plan/confirm", f"/incidents/sms/{number}/resolve"):
            assert browser.client.post(path, data=fields | key).status_code == 403, path
    assert sms.queue.live_job_ids() == []
    assert sms.rows("SELECT 1 FROM campaign_ops.sweep WHERE trigger = 'http'") == []
    assert sms.rows("SELECT state FROM campaign_ops.incident") == [{"state": "open"}]


def test_hostile_words_are_shown_and_not_run(api: Api, sms: World) -> None:
    sms.app.add_campaign("bad", name=HOSTILE, tenant=HOSTILE, pending=3)
    sms.app.add_reservation("worse", campaign="bad", tenant=HOSTILE, amount=3, expires_in=hours(-1))
    sms.sweep(actor=HOSTILE)
    number = open_incident(sms, HOSTILE, tenants=(HOSTILE,), detail=HOSTILE)
    browser = Browser(api, api.token(name=HOSTILE))
    browser.open(f"/incidents/sms/{number}")
    browser.submit(f"/incidents/sms/{number}/acknowledge", reason=HOSTILE)
    browser.open("/plan")
    place = browser.submit("/plan/sweep").headers["location"]
    eventually(lambda: "http-equiv" not in browser.open(place))
    shown = 0
    for path in (*PAGES, place, f"/incidents/sms/{number}", "/campaigns/sms?id=bad", f"/journal?campaign={HOSTILE}"):
        page = browser.open(path)
        shown += "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page, path
        assert "\u202e" not in page, "what comes after the name was shown from right to left"
        assert "<img" not in page, path
    assert shown >= 9


def test_no_page_carries_a_script_or_a_style_of_its_own() -> None:
    templates = Path(__file__).parents[3] / "campaign_ops" / "faces" / "http" / "console" / "templates"
    for template in templates.glob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?! src=)|\|\s*safe", text), template.name


def test_pages_lead_to_dagster_where_there_is_one(serve: Serve, sms: World) -> None:
    api = serve(sms, access=Access(open_as="ann"), dagster="http://127.0.0.1:1")
    page = api.client(Accept="text/html").get("/").text
    assert 'href="http://127.0.0.1:1"' in page
    assert 'href="http://127.0.0.1:1/assets/sms/campaign_health"' in page


def test_a_refused_request_of_a_browser_is_answered_with_a_page(api: Api) -> None:
    """It was JSON, which tells a person at night nothing."""
    with httpx.Client(base_url=api.url, headers={"Accept": "text/html", "Origin": "http://elsewhere"}) as browser:
        refused = browser.post("/login", data={"token": "x"})
    assert (refused.status_code, refused.headers["content-type"].partition(";")[0]) == (403, "text/html")
    assert "the request comes from another site" in refused.text
    assert "frame-ancestors" in refused.headers["content-security-policy"]


IDS = ("a/mark-complete", "/b//c/", "..", "what?id=1#x", "50%2F", "ü\nü+&")


def test_a_campaign_is_reached_whatever_its_id_holds(api: Api, sms: World) -> None:
    """The page of ``..`` was the list of campaigns, and the API had no path for an id with a slash."""
    for campaign_id in IDS:
        sms.app.add_campaign(campaign_id, succeeded=1)
    sms.app.add_reservation("r/1", campaign="..", amount=3)
    browser, programs = Browser(api, api.token()), api.client(api.token())
    links = re.findall(r'href="(/campaigns/sms[^"]*)"', browser.open("/plan"))
    pages = [browser.open(html.unescape(link)) for link in links]
    shown = [re.search(r"<dt>Id</dt><dd>(.*?)</dd>", page, re.DOTALL) for page in pages]
    assert {html.unescape(found[1]) for found in shown if found is not None} == set(IDS)
    body = {"reason": "why", "dry_run": True}
    for campaign_id in IDS:
        path = f"/api/campaigns/{quote(campaign_id, safe='').replace('.', '%2E')}"
        tried = programs.post(f"{path}/mark-complete", json=body).json()
        assert tried["target"] == campaign_id, tried
    assert programs.get("/api/campaigns//b//c/").json()["campaign"]["id"] == "/b//c/"
    assert programs.get("/api/campaigns/a/mark-complete").status_code == 405
    release = programs.post("/api/reservations/r%2F1/release", json=body)
    assert release.json()["detail"].startswith("reservation r/1: 3 credits stay held")
    audited = {row["path"] for row in sms.rows("SELECT path FROM campaign_ops.audit")}
    assert {f"/api/campaigns/{campaign_id}/mark-complete" for campaign_id in IDS} < audited
    browser.open(f"/fix/mark-complete?{urlencode({'platform': 'sms', 'target': '..'})}")
    browser.submit("/fix/mark-complete", 200, reason="why")
    place = browser.submit("/fix/mark-complete", reason="why").headers["location"]
    assert "Done: complete" in browser.open(place)
    assert sms.app.campaign("..")["status"] == "sent"
    latest = sms.rows("SELECT path, why FROM campaign_ops.audit ORDER BY id DESC LIMIT 2")
    page = "/fix/mark-complete?platform=sms&target=.."
    assert latest == [{"path": page, "why": "why"}, {"path": page, "why": "dry run: why"}]
    assert "dry run: why" in browser.open("/tokens")
