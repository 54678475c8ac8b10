"""Who may do what: tokens, tenants, a trusted proxy, no login on loopback; and what is refused before it is read."""

from __future__ import annotations

import ipaddress
import threading
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
import tenacity
from prometheus_client.parser import text_string_to_metric_families

from campaign_ops.access import revoke_token
from campaign_ops.core.tokens import Scope
from campaign_ops.faces.http import gate
from campaign_ops.faces.http.gate import Access, Proxy
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, BROKEN
from tests.faces.http.conftest import Api, Serve

LOOPBACK = Proxy((ipaddress.ip_network("127.0.0.0/8"),), scopes=frozenset({Scope.READ, Scope.REPAIR}))
ELSEWHERE = Proxy((ipaddress.ip_network("10.0.0.0/8"),), scopes=frozenset(Scope))
PATHS = [
    "/metrics",
    "/api/platforms",
    "/api/campaigns",
    "/api/campaigns/one",
    "/api/plan",
    "/api/repairs",
    "/api/incidents",
    "/api/incidents/1",
    "/api/workers",
    "/api/reports/latest",
    "/api/sweeps/run?platform=sms",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer ops_aaaaaaaaaa_" + "x" * 40},
        {"Authorization": "Basic b3BzOm9wcw=="},
        {"Authorization": "Bearer"},
        {"X-Forwarded-User": "mallory"},
    ],
    ids=["nothing", "unknown", "basic", "empty", "a-header"],
)
def test_without_a_valid_token_nothing_is_shown(api: Api, path: str, headers: dict[str, str]) -> None:
    answer = api.client(**headers).get(path)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_an_expired_or_revoked_token_is_refused(api: Api, sms: World) -> None:
    text = api.token()
    client = api.client(text)
    assert client.get("/api/campaigns").status_code == 200
    revoke_token(sms.platform, text.split("_")[1], "tests")
    # Reads may believe it for some seconds more; changes never do.
    sms.app.add_campaign("done", succeeded=5)
    body = {"reason": "why", "dry_run": True}
    assert client.post("/api/campaigns/done/mark-complete", json=body).status_code in (401, 404)
    expiring = api.client(api.token(expires=timedelta(seconds=1)))
    with sms.platform.database.transaction() as connection:
        import sqlalchemy as sa

        connection.execute(sa.text("SELECT pg_sleep(1.2)"))
    assert expiring.get("/api/campaigns").status_code == 401


def test_a_token_reaches_its_platforms_alone(serve: Serve, worlds: Worlds) -> None:
    shop, messenger = worlds.make("sms"), worlds.make("messenger")
    shop.app.add_campaign("one", pending=2)
    messenger.app.add_campaign("two", pending=2)
    api = serve(shop, messenger)
    client = api.client(api.token(on=(messenger,)))
    assert [one["platform"] for one in client.get("/api/platforms").json()["platforms"]] == ["messenger"]
    assert client.get("/api/campaigns/two").status_code == 200
    assert client.get("/api/campaigns/one").status_code == 404
    absent, foreign = client.get("/api/campaigns?platform=nope"), client.get("/api/campaigns?platform=sms")
    assert absent.status_code == foreign.status_code == 404
    assert absent.json()["detail"].replace("nope", "sms") == foreign.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/campaigns/{}"),
        ("POST", "/api/campaigns/{}/mark-complete"),
        ("POST", "/api/campaigns/{}/reenqueue"),
        ("POST", "/api/campaigns/{}/send-again"),
        ("POST", "/api/campaigns/{}/take-as-sent"),
        ("POST", "/api/campaigns/{}/retry-quarantined"),
        ("POST", "/api/reservations/{}/release"),
    ],
)
def test_what_another_tenant_owns_is_answered_as_if_it_did_not_exist(
    api: Api, sms: World, method: str, path: str
) -> None:
    sms.app.add_campaign("theirs", tenant="shop_south", pending=2)
    sms.app.add_reservation("theirs", campaign="theirs", amount=2)
    client = api.client(api.token(tenants=frozenset({"shop_north"})))
    body = {"reason": "why", "dry_run": True} if method == "POST" else None
    foreign = client.request(method, path.format("theirs"), json=body)
    absent = client.request(method, path.format("nothere"), json=body)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.json() | {"detail": ""} == absent.json() | {"detail": ""}
    assert foreign.json()["detail"].replace("theirs", "nothere") == absent.json()["detail"]


def test_a_tenant_may_be_spelled_otherwise_in_a_query(api: Api, sms: World) -> None:
    sms.app.add_campaign("lost", pending=1, tenant="shop_7")
    with sms.app.engine.begin() as connection:
        for table in ("Campaign", "CreditReservation"):
            change = f'ALTER TABLE "{table}" ALTER "shopId" TYPE int USING right("shopId", 1)::int'
            connection.execute(sa.text(change))
    sms.sweep()
    client = api.client(api.token(tenants=frozenset({"7"})))
    for path, key in (("/api/campaigns", "campaigns"), ("/api/repairs", "repairs")):
        rows = [client.get(path, params={"tenant": tenant}).json()[key] for tenant in ("7", "007", "8")]
        assert [len(listed) for listed in rows] == [1, 1, 0], path


def test_a_tenant_bound_token_sees_its_own_rows_and_nothing_of_all_tenants(api: Api, sms: World) -> None:
    sms.app.add_campaign("ours", tenant="shop_north", pending=2)
    sms.app.add_campaign("theirs", tenant="shop_south", pending=2)
    sms.app.add_campaign("done", tenant="shop_south", succeeded=2)
    sms.sweep()
    client = api.client(api.token(tenants=frozenset({"shop_north"})))
    listed = client.get("/api/campaigns").json()
    assert [one["id"] for one in listed["campaigns"]] == ["ours"]
    assert sum(listed["counts"].values()) == 1
    assert client.get("/api/campaigns?tenant=shop_south").json()["campaigns"] == []
    assert {one["tenant"] for one in client.get("/api/repairs").json()["repairs"]} <= {"shop_north"}
    for path in ("/api/plan", "/api/reports/latest", "/api/workers", "/metrics"):
        assert client.get(path).status_code == 403, path
    assert "theirs" not in client.get("/api/incidents?all=true").text
    for path in ("/api/internal/reconciliation", "/api/plan/confirm"):
        body = {"code": "x", "reason": "y"} if path.endswith("confirm") else {}
        assert client.post(path, json=body).status_code == 403, path


def test_a_trusted_proxy_names_the_person(serve: Serve, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    client = serve(sms, access=Access(proxy=LOOPBACK)).client()
    client.headers = httpx.Headers([(b"X-Forwarded-User", "carol·ö@example.com".encode())])
    path = "/api/campaigns/done/mark-complete"
    code = client.post(path, json={"reason": "why", "dry_run": True}).json()["confirm"]
    assert client.post(path, json={"reason": "why", "confirm": code}).status_code == 200
    assert sms.rows("SELECT DISTINCT actor FROM campaign_ops.repair") == [{"actor": "carol·ö@example.com"}]
    sms.app.add_campaign("marked", pending=2)
    denied = client.post("/api/campaigns/marked/send-again", json={"reason": "why", "dry_run": True})
    assert denied.status_code == 403


def test_the_header_of_any_other_address_counts_for_nothing(serve: Serve, sms: World) -> None:
    client = serve(sms, access=Access(proxy=ELSEWHERE)).client(**{"X-Forwarded-User": "mallory"})
    assert client.get("/api/campaigns").status_code == 401
    forwarded = {"X-Forwarded-User": "mallory", "X-Forwarded-For": "10.0.0.7", "Forwarded": "for=10.0.0.7"}
    assert client.get("/api/campaigns", headers=forwarded).status_code == 401


def test_without_login_it_answers_to_names_of_this_machine_only(serve: Serve, sms: World) -> None:
    """A page whose name is pointed at 127.0.0.1 (DNS rebinding) reads and changes nothing."""
    client = serve(sms, access=Access(open_as="ann")).client()
    assert client.get("/api/campaigns").status_code == 200
    assert client.get("/api/campaigns", headers={"Host": "evil.example:8484"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}],
    ids=["origin", "fetch-metadata", "null"],
)
def test_a_request_from_another_site_changes_nothing(serve: Serve, sms: World, headers: dict[str, str]) -> None:
    sms.app.add_campaign("done", succeeded=5)
    client = serve(sms, access=Access(open_as="ann")).client()
    answer = client.post("/api/internal/reconciliation", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "another_site")
    assert sms.app.campaign("done")["status"] == "sending"


def test_a_large_body_is_refused_whether_or_not_its_length_is_told(client: httpx.Client) -> None:
    path = "/api/campaigns/one/mark-complete"
    assert client.post(path, content=b"x" * 70_000).status_code == 413

    chunks = (b"x" * 1_000 for _ in range(70))
    assert client.post(path, content=chunks).status_code == 413


def test_head_is_answered_as_get_without_a_body(client: httpx.Client, api: Api) -> None:
    """It was 405, also at /api/health, which monitors like to ask with it: they called the service down."""
    for path, status in (("/api/health", 200), ("/api/campaigns", 200), ("/api/plan/confirm", 405)):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (status, b"")
    assert api.client().head("/api/campaigns").status_code == 401


@pytest.mark.parametrize("body", [b'{"reason": ', b'{"reason": "\xff"}', b"[" * 30_000])
def test_a_body_that_is_no_json_is_called_that(client: httpx.Client, body: bytes) -> None:
    """`1: JSON decode error`, or 400, which says elsewhere that several platforms have the id."""
    sent = {"Content-Type": "application/json"}
    answer = client.post("/api/campaigns/x/mark-complete", content=body, headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["detail"].startswith("body: is not JSON")


def test_guessing_is_slowed_down_and_a_valid_token_counts_too(api: Api) -> None:
    stranger = api.client("ops_aaaaaaaaaa_" + "x" * 40)
    answers = [stranger.get("/api/platforms").status_code for _ in range(40)]
    assert answers[0] == 401
    assert answers[-1] == 429


def test_strangers_do_not_lock_out_the_tokens_of_the_same_address(api: Api) -> None:
    """Behind a proxy all have its address: 30 requests without a token locked all tokens out."""
    used, new, stranger = api.client(api.token()), api.client(api.token()), api.client()
    assert used.get("/api/platforms").status_code == 200
    for _ in range(31):
        last = stranger.get("/api/platforms")
    assert last.status_code == 429
    assert new.get("/api/platforms").status_code == 200
    for number in range(31):
        last = api.client(f"ops_aaaaaaaa{number:02}_" + "x" * 40).get("/api/platforms")
    assert last.status_code == 429, "unknown tokens ask the database within the limit"
    assert [client.get("/api/platforms").status_code for client in (used, new)] == [200, 200]


def test_one_wrong_token_does_not_use_up_the_limit_of_others(api: Api) -> None:
    wrong = api.client("ops_aaaaaaaaaa_" + "x" * 40)
    answers = [wrong.get("/api/platforms").status_code for _ in range(40)]
    assert answers[:5] == [401] * 5
    assert answers[5:] == [429] * 35
    assert api.client(api.token()).get("/api/platforms").status_code == 200


def test_changes_are_limited(client: httpx.Client) -> None:
    body = {"reason": "why", "dry_run": True}
    answers = [client.post("/api/campaigns/absent/reenqueue", json=body).status_code for _ in range(65)]
    assert answers[0] == 404
    assert answers[-1] == 429


def test_one_platform_that_is_away_does_not_stop_the_others(serve: Serve, sms: World) -> None:
    sms.app.add_campaign("one", pending=2)
    sms.sweep()
    api = serve(sms, AWAY | {"name": "away"}, BROKEN)
    client = api.client(api.token())
    assert [one["platform"] for one in client.get("/api/platforms").json()["platforms"]] == ["sms"]
    assert client.get("/api/campaigns").status_code == 200
    assert client.get("/api/campaigns?platform=away").status_code == 503
    answer = client.get("/api/campaigns?platform=broken")
    assert (answer.status_code, answer.json()["code"]) == (503, "configuration_broken")


def test_a_platform_that_cannot_know_the_token_now_is_shown_as_away(
    serve: Serve, worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is known by each platform's own database. One that was away left the platform out of every page, of every
    list's `away` and of the metrics, so that the alert `source_up == 0` could not fire."""
    monkeypatch.setattr(gate, "REMEMBERED_SECONDS", 0)
    monkeypatch.setattr(tenacity, "wait_exponential_jitter", lambda **_: tenacity.wait_none())
    sms, messenger = worlds.make("sms"), worlds.make("messenger")
    api = serve(sms, messenger, AWAY, BROKEN)
    token = api.token()
    client = api.client(token)
    assert len(client.get("/api/platforms").json()["platforms"]) == 2
    with sms.app.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        database = sa.make_url(messenger.url).database
        connection.exec_driver_sql(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        connection.exec_driver_sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )
        up = {
            sample.labels["platform"]: sample.value
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
            if sample.name == "campaign_ops_source_up" and sample.labels["source"] in ("database", "configuration")
        }
        assert up == {"sms": 1, "messenger": 0, "away": 0, "broken": 0}
        assert client.get("/api/incidents").json()["away"] == ["messenger"]
        page = api.client(Cookie=f"campaign_ops_session={token}", Accept="text/html").get("/").text
        assert all(f"<h2>{name} " in page for name in ("sms", "messenger", "away", "broken"))
        assert "No incident is open." not in page
        connection.exec_driver_sql(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')


def test_no_answer_names_a_driver_a_password_or_a_stack(serve: Serve, sms: World) -> None:
    api = serve(sms, AWAY | {"database_url": "postgresql://ops:s3cret@127.0.0.1:1/app"})
    answer = api.client(api.token()).get("/api/campaigns?platform=away")
    assert answer.status_code == 503
    assert not [word for word in ("psycopg", "sqlalchemy", "Traceback", "s3cret") if word in answer.text]


def test_security_headers_are_on_every_answer(api: Api) -> None:
    for path in ("/api/health", "/api/campaigns", "/nowhere"):
        headers = api.client().get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"], path
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"


def test_many_requests_at_once_use_few_connections(api: Api, sms: World) -> None:
    sms.app.add_campaign("one", pending=2)
    sms.sweep()
    token = api.token()
    statuses: list[int] = []

    def _read() -> None:
        client = api.client(token)
        statuses.extend(client.get("/api/campaigns").status_code for _ in range(5))

    threads = [threading.Thread(target=_read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(statuses) == {200}
    here = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
    assert sms.rows(here)[0]["n"] <= 8
