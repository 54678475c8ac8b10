"""What the API shows: campaigns page by page, one campaign, the journal, incidents, workers, the report, metrics."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
import redis

from campaign_ops.core.causes import Cause
from campaign_ops.core.incidents import Look, Symptom
from campaign_ops.faces.http.cursors import cursor_of
from campaign_ops.watch.incidents import update
from tests.conftest import World, Worlds
from tests.faces.http.conftest import Api, Serve


def test_campaigns_are_those_that_the_latest_sweep_found_stuck(client: httpx.Client, sms: World) -> None:
    assert client.get("/api/campaigns").json()["campaigns"] == []
    sms.app.add_campaign("lost", pending=3, succeeded=7)
    sms.queue.pause()
    sms.sweep()
    document = client.get("/api/campaigns").json()
    (campaign,) = document["campaigns"]
    assert (campaign["id"], campaign["verdict"], campaign["percent"]) == ("lost", "queue_paused", 70)
    assert document["counts"] == {"queue_paused": 1}
    assert document["as_of"]["sms"] is not None


def test_pages_show_each_campaign_once_while_sweeps_go_on(client: httpx.Client, sms: World) -> None:
    sms.queue.pause()
    for number in range(7):
        sms.app.add_campaign(f"c{number}", pending=2)
    sms.sweep()
    path, seen = "/api/campaigns?limit=3", []
    while path is not None:
        document = client.get(path).json()
        seen += [one["id"] for one in document["campaigns"]]
        path = document["next"]
        sms.sweep()
    assert sorted(seen) == [f"c{number}" for number in range(7)]


def test_pages_go_on_from_platform_to_platform(serve: Serve, worlds: Worlds) -> None:
    shop, messenger = worlds.make("sms"), worlds.make("messenger")
    shop.queue.pause()
    for number in range(3):
        shop.app.add_campaign(f"s{number}", pending=2)
        messenger.app.add_campaign(f"m{number}", pending=2)
    shop.sweep()
    messenger.sweep()
    api = serve(shop, messenger)
    client, path, seen = api.client(api.token()), "/api/campaigns?limit=2", []
    while path is not None:
        document = client.get(path).json()
        seen += [(one["platform"], one["id"]) for one in document["campaigns"]]
        path = document["next"]
        assert sum(document["counts"].values()) == 6
    assert sorted(seen) == sorted([("messenger", f"m{n}") for n in range(3)] + [("sms", f"s{n}") for n in range(3)])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("verdict=queue_paused", ["one", "two"]),
        ("verdict=empty", []),
        ("tenant=shop_north", ["one"]),
        ("search=TW", ["two"]),
        ("search=%25", []),
        ("needs_person=true", ["one", "two"]),
    ],
)
def test_each_filter_keeps_only_what_it_names(client: httpx.Client, sms: World, query: str, ids: list[str]) -> None:
    sms.queue.pause()
    sms.app.add_campaign("one", tenant="shop_north", pending=2)
    sms.app.add_campaign("two", tenant="shop_south", pending=2)
    sms.sweep()
    listed = client.get(f"/api/campaigns?{query}").json()["campaigns"]
    found = [one["id"] for one in listed]
    if query.startswith("needs_person"):
        ids = [one["id"] for one in client.get("/api/campaigns").json()["campaigns"] if one["needs_person"]]
    assert sorted(found) == ids


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "verdict=sad", "needs_person=perhaps"])
def test_a_query_that_cannot_be_understood_is_answered_with_422(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/api/campaigns?{query}")
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"


FORGED = [cursor_of("sms", 1, 2, "\x00"), cursor_of("sms", 1, 2, "\ud800"), cursor_of("sms", 2**63, 2, "c")]
"""Some were answered with the driver's error, some with 500."""


@pytest.mark.parametrize("cursor", ["nonsense", "WzEsMl0", "%00", "bnVsbA", *FORGED])
def test_a_cursor_that_is_none_is_refused(client: httpx.Client, cursor: str) -> None:
    for path in ("/api/campaigns", "/api/repairs"):
        answer = client.get(f"{path}?cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (409, "no_cursor")


def test_one_campaign_has_its_evidence_and_its_story(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("lost", pending=3, succeeded=7)
    sms.sweep()
    document = client.get("/api/campaigns/lost").json()
    assert document["campaign"]["verdict"] == "no_workers"
    assert (document["covered"], document["missing"], document["live_jobs"]) == (3, 0, 1)
    assert [repair["kind"] for repair in document["repairs"]] == ["reenqueue"]
    assert document["repairs"][0]["undo"].startswith("/api/repairs/")
    assert [one["verdict"] for one in document["judgements"]] == ["jobs_lost"]
    assert document["attempts"] == 1


def test_a_campaign_that_is_over_is_shown_too(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    sms.sweep()
    document = client.get("/api/campaigns/done").json()
    assert (document["status"], document["sending"], document["campaign"]["verdict"]) == ("sent", False, "over")
    assert document["campaign"]["stuck"] is False
    assert {repair["kind"] for repair in document["repairs"]} == {"complete"}


def test_ambiguous_recipients_are_named(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("marked", pending=3)
    sms.queue.mark(sms.app.pending_ids("marked"))
    sms.sweep()
    document = client.get("/api/campaigns/marked").json()
    assert document["campaign"]["verdict"] == "ambiguous"
    assert sorted(document["ambiguous"]) == sms.app.pending_ids("marked")
    assert document["needs_person"] is True


def test_an_id_on_two_platforms_needs_the_platforms_name(serve: Serve, worlds: Worlds) -> None:
    shop, messenger = worlds.make("sms"), worlds.make("messenger")
    for world in (shop, messenger):
        world.app.add_campaign("same", succeeded=2)
    api = serve(shop, messenger)
    client = api.client(api.token())
    answer = client.get("/api/campaigns/same")
    assert (answer.status_code, answer.json()["code"]) == (400, "which_platform")
    assert "messenger, sms" in answer.json()["detail"] or "sms, messenger" in answer.json()["detail"]
    assert client.get("/api/campaigns/same?platform=messenger").json()["platform"] == "messenger"


def test_the_journal_goes_on_page_by_page(client: httpx.Client, sms: World) -> None:
    for number in range(5):
        sms.app.add_campaign(f"done{number}", succeeded=2)
    sms.sweep()
    path, seen = "/api/repairs?limit=2", []
    while path is not None:
        document = client.get(path).json()
        seen += [repair["target"] for repair in document["repairs"]]
        path = document["next"]
    assert sorted(seen) == [f"done{number}" for number in range(5)]
    assert len(client.get("/api/repairs?campaign=done3").json()["repairs"]) == 1


def test_an_unchanged_answer_is_not_sent_again(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=2)
    sms.sweep()
    first = client.get("/api/repairs")
    known = {"If-None-Match": first.headers["etag"]}
    assert client.get("/api/repairs", headers=known).status_code == 304
    sms.app.add_campaign("more", succeeded=2)
    sms.sweep()
    assert client.get("/api/repairs", headers=known).status_code == 200


def _open_incident(world: World) -> None:
    symptom = Symptom(Cause.SWEEP_STALE, detail="the last sweep finished 2 h ago")
    update(world.platform, Look((symptom,), {Cause.SWEEP_STALE: ""}))


def test_incidents_are_listed_and_handled(client: httpx.Client, sms: World) -> None:
    _open_incident(sms)
    listed = client.get("/api/incidents").json()
    assert listed["open"] == 1
    (incident,) = listed["platforms"][0]["incidents"]
    path = f"/api/incidents/{incident['id']}"
    assert client.post(f"{path}/acknowledge", json={"reason": "on it", "dry_run": True}).status_code == 200
    assert client.get(path).json()["incident"]["state"] == "open"
    assert client.post(f"{path}/acknowledge", json={"reason": "on it"}).json()["incident"]["state"] == "acknowledged"
    silenced = client.post(f"{path}/silence", json={"reason": "until noon", "minutes": 30}).json()
    assert silenced["incident"]["state"] == "silenced"
    assert client.post(f"{path}/resolve", json={"reason": "it is mended"}).json()["incident"]["state"] == "resolved"
    again = client.post(f"{path}/resolve", json={"reason": "it is mended"})
    assert again.status_code == 409
    events = client.get(path).json()["events"]
    assert [(event["what"], event["by"]) for event in events][1:] == [
        ("acknowledged", "ann"),
        ("silenced", "ann"),
        ("resolved", "ann"),
    ]
    assert client.get("/api/incidents/4711").status_code == 404


def test_workers_report_and_platforms(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=2)
    sms.sweep()
    (platform,) = client.get("/api/platforms").json()["platforms"]
    assert (platform["platform"], platform["status"], platform["profile"]) == ("sms", "ok", "sms")
    assert client.get("/api/workers").json()["platforms"][0]["workers"]["queues"][0]["queue"] == "sms-send"
    report = client.get("/api/reports/latest").json()["report"]
    assert report["figures"]["completed"] == 1
    assert "done" in report["markdown"]


def test_metrics_are_those_of_the_command_line(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=2)
    sms.sweep()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'reconciliation_jobs_completed_total{outcome="done",platform="sms"} 1.0' in answer.text or (
        'reconciliation_jobs_completed_total{platform="sms",outcome=' in answer.text
    )


def test_health_is_alive_and_ready_says_whether_sweeps_are_fresh(api: Api, sms: World) -> None:
    stranger = api.client()
    health = stranger.get("/api/health")
    assert (health.status_code, health.json()["status"]) == (200, "alive")
    assert health.json()["platforms"][0]["status"] == "never_swept"
    ready = stranger.get("/api/ready")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "platforms": None})
    sms.sweep()
    api.service.__dict__.pop("health")  # what is remembered for some seconds
    ready = api.client(api.token()).get("/api/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert ready.json()["platforms"][0]["status"] == "ok"
    with sms.platform.database.transaction() as connection:
        import sqlalchemy as sa

        connection.execute(sa.text("UPDATE campaign_ops.sweep SET finished_at = now() - interval '1 hour'"))
    api.service.__dict__.pop("health")
    assert stranger.get("/api/ready").status_code == 503


def test_health_answers_while_databases_hang(serve: Serve, sms: World) -> None:
    """Three databases that took the connection and said nothing kept a probe waiting for 41 s: the engine would have
    restarted the service for the outage of a database."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/hangs"
        hanging = [{"name": f"hangs_{n}", "profile": "messenger", "database_url": f"{url}_{n}"} for n in range(3)]
        sms.sweep()
        health = serve(sms, *hanging).client().get("/api/health")
        asked = [silent.accept()[0] for _ in hanging]
        assert all(map(is_open, asked)), "the answer came only after a database had been given up"
    statuses = {line["platform"]: line["status"] for line in health.json()["platforms"]}
    assert statuses == {"sms": "ok", "hangs_0": "away", "hangs_1": "away", "hangs_2": "away"}


def is_open(connection: socket.socket) -> bool:
    """Return whether the other side still waits for an answer."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    return False


def test_hostile_names_are_data(client: httpx.Client, sms: World) -> None:
    sms.queue.pause()
    name = "<script>alert(1)</script>'\"; DROP TABLE x; --"
    sms.app.add_campaign("bad", name=name, pending=2)
    sms.sweep()
    answer = client.get("/api/campaigns")
    assert answer.json()["campaigns"][0]["name"] == name
    assert answer.headers["content-type"] == "application/json"


def test_campaigns_that_are_opened_at_once_share_looks_and_each_shows_its_own(api: Api, sms: World) -> None:
    token = api.token()
    missing = {f"c{number}": 1 + number for number in range(12)}
    for campaign_id, pending in missing.items():
        sms.app.add_campaign(campaign_id, pending=pending, succeeded=1)

    def open_(campaign_id: str) -> tuple[str, int]:
        document = api.client(token).get(f"/api/campaigns/{campaign_id}").json()
        return document["campaign"]["id"], document["missing"]

    open_("c0")
    with redis.Redis.from_url(str(sms.queue_url)) as client:
        client.config_resetstat()
        with ThreadPoolExecutor(12) as people:
            assert dict(people.map(open_, missing)) == missing
        looks = client.info("commandstats")["cmdstat_exec"]["calls"] / 2  # its state, then its ids
    assert looks <= 6, "the first, and whatever came during it together"


def test_a_look_that_fails_leaves_the_next_one_as_it_was(api: Api, sms: World) -> None:
    sms.app.add_campaign("c1", pending=1)
    client = api.client(api.token())
    with psycopg.connect(sms.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute('ALTER TABLE "CampaignRecipient" RENAME TO elsewhere')
        with ThreadPoolExecutor(3) as people:
            answers = list(people.map(lambda _: client.get("/api/campaigns/c1"), range(3)))
        connection.execute('ALTER TABLE elsewhere RENAME TO "CampaignRecipient"')
    assert all(answer.status_code >= 400 and answer.json()["detail"] for answer in answers)
    assert client.get("/api/campaigns/c1").json()["missing"] == 1
