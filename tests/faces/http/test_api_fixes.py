"""Manual fixes over HTTP: tried out, confirmed with the code, done once, refused with the numbers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import DatabaseUnavailable
from campaign_ops.core.tokens import Scope
from tests.bullmq.kit import until
from tests.conftest import World, Worlds
from tests.faces.http.conftest import Api, Serve
from tests.proxy import Fault, proxied


def fix(client: httpx.Client, path: str, **body: Any) -> httpx.Response:
    """A fix for real, with the code of its dry run."""
    tried = client.post(path, json={"reason": "TICKET-1", "dry_run": True} | body)
    if tried.status_code != 200:
        return tried
    return client.post(path, json={"reason": "TICKET-1", "confirm": tried.json()["confirm"]} | body)


@contextmanager
def database_away(world: World) -> Iterator[None]:
    """Cut every connection to the world's database and let none in, until the block ends."""
    url = sa.make_url(world.url)
    with sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false"))
        cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(sa.text(cut), {"name": url.database})
        try:
            yield
        finally:
            connection.execute(sa.text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true"))


def test_mark_complete_answers_as_the_fix_report_shows(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    sms.app.add_reservation("hold", campaign="done", amount=5)
    answer = fix(client, "/api/campaigns/done/mark-complete")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["success"] is True
    assert document["message"] == "campaign done is sent now, 1 reservation released"
    assert (document["campaign"]["id"], document["campaign"]["succeeded"]) == ("done", 5)
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"


def test_the_journal_names_the_token_and_never_the_body(api: Api, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    fix(api.client(api.token(name="bob of support")), "/api/campaigns/done/mark-complete", reason="TICKET-7")
    (repair,) = sms.rows("SELECT actor, person_reason FROM campaign_ops.repair WHERE kind = 'complete'")
    assert repair == {"actor": "bob of support", "person_reason": "TICKET-7"}


def test_a_refusal_has_the_numbers_and_the_next_step(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("open", succeeded=5, failed=1, pending=2)
    answer = client.post("/api/campaigns/open/mark-complete", json={"reason": "hurry", "dry_run": True})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["code"] == "refused"
    assert document["detail"] == "campaign open: 2 of 8 recipients still pending"
    assert document["counts"] == {"total": 8, "sent": 5, "failed": 1, "pending": 2}
    assert sms.app.campaign("open")["status"] == "sending"


def test_without_the_code_of_a_dry_run_nothing_is_done(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    answer = client.post("/api/campaigns/done/mark-complete", json={"reason": "hurry"})
    assert (answer.status_code, answer.json()["code"]) == (409, "confirmation_required")
    assert sms.app.campaign("done")["status"] == "sending"


def test_what_contradicts_itself_is_refused(api: Api, sms: World) -> None:
    """Of two platforms the one in the body was taken, of a token's tenant and another one the token's."""
    sms.app.add_campaign("done", tenant="north", succeeded=5)
    client, path = api.client(api.token(tenants=frozenset({"north", "south"}))), "/api/campaigns/done/mark-complete"
    for query, more, status, words in (
        ("?platform=other", {"platform": "sms"}, 409, "is 'sms' in the body and 'other' in the query"),
        ("", {"confirm": "aaaa-bbbb-cccc"}, 409, "confirm: cannot be combined with dry_run"),
        ("", {"tenant": "south"}, 404, "there is no such campaign of tenant south"),
        ("?platform=sms", {"platform": "sms", "tenant": "north"}, 200, ""),
    ):
        answer = client.post(path + query, json={"reason": "why", "dry_run": True} | more)
        assert answer.status_code == status, answer.text
        assert words in answer.json().get("detail", "")


def test_a_code_passes_once(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    tried = client.post("/api/campaigns/lost/reenqueue", json={"reason": "lost", "dry_run": True}).json()
    body = {"reason": "lost", "confirm": tried["confirm"]}
    assert client.post("/api/campaigns/lost/reenqueue", json=body).status_code == 200
    again = client.post("/api/campaigns/lost/reenqueue", json=body)
    assert again.status_code == 409
    assert len(sms.queue.live_job_ids()) == 1


def test_a_fix_is_undone_by_the_path_that_it_answers(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    made = fix(client, "/api/campaigns/lost/reenqueue").json()
    assert len(sms.queue.live_job_ids()) == 1
    undone = fix(client, made["undo"])
    assert undone.status_code == 200, undone.text
    assert sms.queue.live_job_ids() == []


def test_release_releases_a_leaked_reservation(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign="over", amount=12)
    assert fix(client, "/api/reservations/leak/release").status_code == 200
    assert sms.app.reservation("leak")["status"] == "released"


@pytest.mark.parametrize(
    ("name", "after"), [("send-again", ("pending", 3)), ("take-as-sent", ("sent", 0))], ids=["again", "as-sent"]
)
def test_a_person_decides_about_ambiguous_recipients(
    client: httpx.Client, sms: World, name: str, after: tuple[str, int]
) -> None:
    sms.app.add_campaign("marked", pending=3)
    sms.queue.mark(sms.app.pending_ids("marked"))
    answer = fix(client, f"/api/campaigns/marked/{name}")
    assert answer.status_code == 200, answer.text
    assert len(sms.app.pending_ids("marked")) == after[1]
    assert len(sms.queue.live_job_ids()) == (1 if after[1] else 0)


def test_the_same_key_gives_the_same_answer_and_acts_once(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    tried = client.post("/api/campaigns/lost/reenqueue", json={"reason": "lost", "dry_run": True}).json()
    body, key = {"reason": "lost", "confirm": tried["confirm"]}, {"Idempotency-Key": "order-1"}
    first = client.post("/api/campaigns/lost/reenqueue", json=body, headers=key)
    second = client.post("/api/campaigns/lost/reenqueue", json=body, headers=key)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert len(sms.queue.live_job_ids()) == 1
    assert len(sms.rows("SELECT 1 FROM campaign_ops.repair WHERE kind = 'reenqueue'")) == 1


def test_a_refusal_is_the_same_again_for_its_key(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("open", pending=2)
    body, key = {"reason": "hurry", "dry_run": True}, {"Idempotency-Key": "order-2"}
    first = client.post("/api/campaigns/open/mark-complete", json=body, headers=key)
    second = client.post("/api/campaigns/open/mark-complete", json=body, headers=key)
    assert first.status_code == second.status_code == 409
    assert first.json() == second.json()


def test_a_fix_with_redis_away_is_an_outage_and_its_key_may_be_sent_again(serve: Serve, worlds: Worlds) -> None:
    """It was answered as a refusal, and that answer was given again for a day."""
    with proxied(worlds.servers.redis.port) as proxy:
        world = worlds.make("sms", queue_url=proxy.url)
        world.app.add_campaign("lost", pending=2)
        api = serve(world)
        client, path = api.client(api.token()), "/api/campaigns/lost/reenqueue"
        code = client.post(path, json={"reason": "lost", "dry_run": True}).json()["confirm"]
        body, key = {"reason": "lost", "confirm": code}, {"Idempotency-Key": "order-5"}
        proxy.inject(Fault(b"*", kind="cut"))
        away = client.post(path, json=body, headers=key)
        assert (away.status_code, away.json()["code"]) == (503, "unavailable"), away.text
        proxy.heal()
        for _ in range(2):
            again = client.post(path, json=body, headers=key)
            assert (again.status_code, again.json()["changed"]) == (200, True), again.text
        assert len(world.queue.live_job_ids()) == 1


def test_a_key_may_be_sent_again_when_the_database_was_away(client: httpx.Client, sms: World) -> None:
    """Its claim could not be let go of, and so it was refused as in progress until it was pruned."""
    sms.app.add_campaign("done", succeeded=2)
    path = "/api/campaigns/done/mark-complete"
    code = client.post(path, json={"reason": "T", "dry_run": True}).json()["confirm"]
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(client.post(path, json={"reason": "T", "confirm": code}, headers={"Idempotency-Key": "order-6"}))

    with contextlib.suppress(DatabaseUnavailable), sms.platform.lock(wait_seconds=0).hold():
        first = threading.Thread(target=send)
        first.start()
        until(lambda: sms.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        with database_away(sms):
            first.join()
    send()
    sms.app.engine.dispose()  # its idle connections were cut, too
    assert [answer.status_code for answer in answers] == [503, 200], [answer.text for answer in answers]
    assert sms.app.campaign("done")["status"] == "sent"
    assert len(sms.rows("SELECT 1 FROM campaign_ops.repair WHERE kind = 'complete'")) == 1


def test_a_key_is_for_one_request(client: httpx.Client, sms: World) -> None:
    sms.app.add_campaign("one", pending=2)
    sms.app.add_campaign("two", pending=2)
    key = {"Idempotency-Key": "order-3"}
    body = {"reason": "lost", "dry_run": True}
    assert client.post("/api/campaigns/one/reenqueue", json=body, headers=key).status_code == 200
    other = client.post("/api/campaigns/two/reenqueue", json=body, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")


def test_another_tokens_key_is_its_own(api: Api, sms: World) -> None:
    """The answer to one token's request is not shown to another."""
    sms.app.add_campaign("one", pending=2)
    body, key = {"reason": "lost", "dry_run": True}, {"Idempotency-Key": "order-4"}
    path = "/api/campaigns/one/reenqueue"
    assert api.client(api.token()).post(path, json=body, headers=key).status_code == 200
    other = api.client(api.token(name="bob")).post(path, json=body | {"reason": "mine"}, headers=key)
    assert other.status_code == 200, other.text


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"dry_run": True}, "reason"),
        ({"reason": "  ", "dry_run": True}, "reason"),
        ({"reason": "x" * 501, "dry_run": True}, "reason"),
        ({"reason": "a\x00b", "dry_run": True}, "reason"),
        ({"reason": "why", "dryrun": True}, "dryrun"),
        (["why"], "body"),
    ],
)
def test_a_body_that_does_not_fit_is_answered_with_its_place(
    client: httpx.Client, sms: World, body: Any, place: str
) -> None:
    sms.app.add_campaign("done", succeeded=5)
    answer = client.post("/api/campaigns/done/mark-complete", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["detail"].startswith(f"{place}: ")
    assert sms.app.campaign("done")["status"] == "sending"


@pytest.mark.parametrize(
    "path",
    [
        "/api/campaigns/absent/mark-complete",
        "/api/campaigns/a%2Fb/reenqueue",
        "/api/reservations/absent/release",
        "/api/repairs/4711/undo",
    ],
)
def test_what_does_not_exist_is_answered_with_404(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={"reason": "why", "dry_run": True})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        (Scope.REPAIR, "/api/campaigns/marked/send-again"),
        (Scope.DECIDE, "/api/campaigns/marked/reenqueue"),
        (Scope.READ, "/api/campaigns/marked/mark-complete"),
    ],
)
def test_a_fix_needs_its_own_scope(api: Api, sms: World, scope: Scope, path: str) -> None:
    sms.app.add_campaign("marked", pending=3)
    answer = api.client(api.token(scope)).post(path, json={"reason": "why", "dry_run": True})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_what_a_token_may_not_do_is_audited(api: Api, sms: World) -> None:
    sms.app.add_campaign("theirs", tenant="shop_south", pending=2)
    body = {"reason": "why", "dry_run": True}
    reader = api.client(api.token(Scope.READ, name="reader"))
    bound = api.client(api.token(name="bound", tenants=frozenset({"shop_north"})))
    assert reader.post("/api/campaigns/theirs/mark-complete", json=body).status_code == 403
    assert bound.post("/api/campaigns/theirs/mark-complete", json=body).status_code == 404
    assert reader.post("/api/internal/reconciliation", json={}).status_code == 403
    assert bound.post("/api/plan/confirm", json={"code": "x", "reason": "y"}).status_code == 403
    rows = sms.rows("SELECT actor, path, status FROM campaign_ops.audit ORDER BY id")
    assert [(row["actor"], row["status"]) for row in rows] == [
        ("reader", 403),
        ("bound", 404),
        ("reader", 403),
        ("bound", 403),
    ]


def test_every_attempt_is_audited_and_so_are_the_refused_ones(api: Api, sms: World) -> None:
    sms.app.add_campaign("done", succeeded=5)
    sms.app.add_campaign("open", pending=5)
    client = api.client(api.token(name="bob"))
    fix(client, "/api/campaigns/done/mark-complete")
    fix(client, "/api/campaigns/open/mark-complete")
    rows = sms.rows("SELECT actor, path, status, why FROM campaign_ops.audit ORDER BY id")
    assert [(row["path"], row["status"]) for row in rows] == [
        ("/api/campaigns/done/mark-complete", 200),
        ("/api/campaigns/done/mark-complete", 200),
        ("/api/campaigns/open/mark-complete", 409),
    ]
    assert {row["actor"] for row in rows} == {"bob"}
    tried, made, refused = (row["why"] for row in rows)
    assert (tried, made) == ("dry run: TICKET-1", "TICKET-1")
    assert refused.startswith("dry run: campaign open: 5 of 5 recipients still pending")
