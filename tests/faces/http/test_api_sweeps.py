"""Sweeps over HTTP: planned, started, watched, confirmed; one at a time."""

from __future__ import annotations

import time
from typing import Any

import httpx
import sqlalchemy as sa

from tests.conftest import World, Worlds
from tests.faces.http.conftest import Api, Serve


def ended(client: httpx.Client, place: str) -> dict[str, Any]:
    """The state of a sweep once it has ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = client.get(place).json()
        if state["state"] != "running":
            return dict(state)
        time.sleep(0.05)
    raise AssertionError(state)


def test_a_parameter_in_the_address_that_an_endpoint_does_not_have_is_refused(client: httpx.Client, sms: World) -> None:
    """`?platform=sms&dry_run=true` beside an empty body was ignored: every platform was swept, and really."""
    sms.app.add_campaign("done", succeeded=3)
    for method, path, wrong in (
        ("POST", "/api/internal/reconciliation?dry_run=true", "dry_run"),
        ("POST", "/api/plan/confirm?platform=sms", "platform"),
        ("GET", "/api/repairs?campaign_id=done", "campaign_id"),
    ):
        answer = client.request(method, path, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert f"query.{wrong}: " in answer.json()["detail"]
    assert sms.app.campaign("done")["status"] == "sending"
    assert sms.rows("SELECT * FROM campaign_ops.sweep") == []
    assert client.get("/api/health?probe=1").status_code == 200


def test_a_sweep_is_started_and_its_place_says_how_it_ended(api: Api, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    client = api.client(api.token(name="bob"))
    answer = client.post("/api/internal/reconciliation", json={"platform": "sms", "reason": "now"})
    assert answer.status_code == 202, answer.text
    state = ended(client, answer.headers["location"])
    assert (state["state"], state["result"]["figures"]["completed"]) == ("done", 1)
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.rows("SELECT trigger, actor FROM campaign_ops.sweep") == [{"trigger": "http", "actor": "bob"}]


def test_the_runbooks_request_without_a_body_sweeps_every_platform(serve: Serve, worlds: Worlds) -> None:
    shop, messenger = worlds.make("sms"), worlds.make("messenger")
    for world in (shop, messenger):
        world.app.add_campaign("done", succeeded=5)
    api = serve(shop, messenger)
    client = api.client(api.token())
    started = client.post("/api/internal/reconciliation").json()["sweeps"]
    assert {ended(client, one["place"])["state"] for one in started} == {"done"}
    assert shop.app.campaign("done")["status"] == "sent"
    assert messenger.app.campaign("done")["status"] == "COMPLETED"


def test_a_dry_run_answers_the_plan_and_changes_nothing(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    before = sms.app.fingerprint()
    answer = client.post("/api/internal/reconciliation", json={"dry_run": True})
    (plan,) = answer.json()["plans"]
    assert [(line["target"], line["ending"]) for line in plan["plan"]["lines"]] == [("done", "planned")]
    assert [line["target"] for line in client.get("/api/plan").json()["plan"]["lines"]] == ["done"]
    assert sms.app.fingerprint() == before


def test_while_a_sweep_is_under_way_another_is_refused(client: httpx.Client, sms: World) -> None:
    with sms.platform.lock(wait_seconds=0).hold():
        answer = client.post("/api/internal/reconciliation", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "busy")
    assert client.post("/api/internal/reconciliation", json={}).status_code == 202


def test_a_sweep_with_a_key_is_started_once(client: httpx.Client, sms: World) -> None:
    key = {"Idempotency-Key": "nightly-1"}
    first = client.post("/api/internal/reconciliation", json={}, headers=key).json()
    ended(client, first["sweeps"][0]["place"])
    second = client.post("/api/internal/reconciliation", json={}, headers=key).json()
    assert first == second
    assert len(sms.rows("SELECT 1 FROM campaign_ops.sweep")) == 1


def _trip_the_breaker(world: World) -> None:
    for number in range(12):
        world.app.add_campaign(f"c{number}", pending=2)


def test_a_person_confirms_what_the_breaker_holds_back(client: httpx.Client, sms: World) -> None:
    _trip_the_breaker(sms)
    plan = client.get("/api/plan").json()["plan"]
    (held,) = [held for held in plan["held_back"] if held["confirm"]]
    body = {"code": held["confirm"], "reason": "the queue was emptied on purpose"}
    answer = client.post("/api/plan/confirm", json=body)
    assert (answer.status_code, answer.json()["state"]) == (200, "done"), answer.text
    assert "not used" not in answer.json()["message"]
    assert len(sms.queue.live_job_ids()) == 12
    (confirmed,) = sms.rows("SELECT actor, person_reason FROM campaign_ops.repair WHERE kind = 'confirm'")
    assert confirmed == {"actor": "ann", "person_reason": "the queue was emptied on purpose"}


def test_a_wrong_code_lets_nothing_pass(client: httpx.Client, sms: World) -> None:
    _trip_the_breaker(sms)
    answer = client.post("/api/plan/confirm", json={"code": "aaaa-bbbb-cccc", "reason": "guess"})
    assert answer.status_code in (200, 409)
    assert sms.queue.live_job_ids() == []


def alter(world: World, statement: str) -> None:
    with world.app.engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_the_answer_to_a_sweep_that_failed_is_its_failure_and_is_not_kept(client: httpx.Client, sms: World) -> None:
    """It was answered 200 with `state: failed`, and again for a day."""
    body, key = {"code": "aaaa-bbbb-cccc", "reason": "guess"}, {"Idempotency-Key": "confirm-1"}
    alter(sms, "ALTER TABLE campaign_ops.sweep RENAME COLUMN trigger TO away")
    failed = client.post("/api/plan/confirm", json=body, headers=key)
    assert failed.status_code >= 500, failed.text
    alter(sms, "ALTER TABLE campaign_ops.sweep RENAME COLUMN away TO trigger")
    again = client.post("/api/plan/confirm", json=body, headers=key)
    assert (again.status_code, again.json()["state"]) == (200, "done"), again.text
    assert again.json()["message"].endswith("; the code was not used: no breaker held anything back")


def test_a_run_that_left_no_trace_is_unknown(client: httpx.Client) -> None:
    assert client.get("/api/sweeps/nothing?platform=sms").json()["state"] == "unknown"
    assert client.get("/api/sweeps/nothing").status_code == 422
    assert client.get("/api/sweeps/no%00thing?platform=sms").status_code == 422


def test_a_sweep_of_another_service_is_found_in_the_records(serve: Serve, sms: World) -> None:
    api = serve(sms)
    client = api.client(api.token())
    started = client.post("/api/internal/reconciliation", json={}).json()["sweeps"][0]
    ended(client, started["place"])
    api.service.sweeps._runs.clear()  # as after a restart
    state = client.get(started["place"]).json()
    assert (state["state"], state["result"]) == ("done", None)


def test_a_sweep_whose_process_died_is_not_under_way(client: httpx.Client, sms: World) -> None:
    """It was shown as running for ever, and its page went on asking every two seconds."""
    sms.platform.database.run(lambda connection: sms.platform.begin(connection, "http-dead", "http", "ann"))
    with sms.again().lock(wait_seconds=0).hold():
        assert client.get("/api/sweeps/http-dead?platform=sms").json()["state"] == "running"
    state = client.get("/api/sweeps/http-dead?platform=sms").json()
    assert (state["state"], state["finished_at"]) == ("failed", None)
    assert state["message"].startswith("it did not end")


def test_on_the_end_of_the_service_a_running_sweep_ends_first(serve: Serve, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    api = serve(sms)
    api.client(api.token()).post("/api/internal/reconciliation", json={})
    api.service.close()
    assert sms.app.campaign("done")["status"] == "sent"


def test_where_dagster_does_not_answer_the_service_sweeps_itself(serve: Serve, sms: World) -> None:
    api = serve(sms, dagster="http://127.0.0.1:1")
    client = api.client(api.token())
    (state,) = client.post("/api/internal/reconciliation", json={}).json()["sweeps"]
    assert state["by"] == "service"
    assert ended(client, state["place"])["state"] == "done"
