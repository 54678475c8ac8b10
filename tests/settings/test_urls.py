"""Database and queue URLs as applications have them."""

from __future__ import annotations

import pytest

from tests.settings.files import only, problems, sms


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("postgres://a:b@h/db", "postgresql+psycopg://a:b@h/db"),
        (" postgres://a:b@h/db ", "postgresql+psycopg://a:b@h/db"),
        ("postgresql+psycopg://a:b@h/db", "postgresql+psycopg://a:b@h/db"),
        (
            "postgresql://a:p%40%2F@h/db?connection_limit=5&pool_timeout=1&pgbouncer=true&connect_timeout=3",
            "postgresql+psycopg://a:p%40%2F@h/db?connect_timeout=3",
        ),
        ("postgresql:///db?host=/run/postgresql", "postgresql+psycopg:///db?host=%2Frun%2Fpostgresql"),
        (
            "postgresql://a:b@/db?host=h1:5432&host=h2:5432&target_session_attrs=read-write",
            "postgresql+psycopg://a:b@/db?host=h1%3A5432&host=h2%3A5432&target_session_attrs=read-write",
        ),
        (
            "postgresql://a:b@[::1]:5432/db?sslmode=require&sslaccept=accept_invalid_certs",
            "postgresql+psycopg://a:b@[::1]:5432/db?sslmode=require",
        ),
    ],
)
def test_a_database_url_is_taken_as_its_application_writes_it(written: str, taken: str) -> None:
    assert only(sms(database=f"'{written}'")).database_url.get_secret_value() == taken


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/db", "is not a PostgreSQL URL; write postgresql://user:password@host:5432/database"),
        ("postgresql+psycopg2://h/db", "names another driver; write postgresql://, psycopg 3 is always used"),
        ("prisma+postgres://h", "is the address of a Prisma proxy; write the database's own, postgresql://..."),
        ("postgresql://a:b@h", "names no database; write postgresql://user:password@host:5432/database"),
        (
            "postgresql://h/db?sslmod=require",
            "has the parameter sslmod, which PostgreSQL does not know; did you mean sslmode?",
        ),
        (
            "postgresql://h/db?sslaccept=strict",
            "has sslaccept=strict, which only Prisma knows; write sslmode=verify-full and sslrootcert=...",
        ),
    ],
)
def test_a_database_url_that_cannot_be_used_is_answered_with_the_mend(url: str, said: str) -> None:
    assert problems(sms(database=f"'{url}'")) == [f"campaign_ops.yaml:4: platforms[0].database_url: {said}"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://u:p@h:6380/3",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://s1:26379,s2:26379/master/0",
    ],
)
def test_a_queue_url_of_a_known_kind_is_kept_as_it_is(url: str) -> None:
    queue_url = only(sms(queue=f"'{url}'")).queue_url
    assert queue_url is not None
    assert queue_url.get_secret_value() == url


@pytest.mark.parametrize("url", ["http://h", "redis://h/mydb", "redis://h:port", "unix://", "redis+sentinel://h"])
def test_a_queue_url_of_another_kind_is_refused(url: str) -> None:
    """redis-py itself takes database 0 for `/mydb`, where another application's queue may live."""
    (said,) = problems(sms(queue=f"'{url}'"))
    assert said.startswith("campaign_ops.yaml:5: platforms[0].queue_url: ")


def test_the_schema_in_prismas_url_counts_unless_the_users_own_profile_names_one() -> None:
    url = "'postgresql://a:b@h/db?schema=shop'"
    assert only(sms(database=url)).profile.db_schema == "shop"
    assert only(sms(database=url, profile="{extends: sms, schema: public}")).profile.db_schema == "public"
    assert "schema" not in only(sms(database=url)).database_url.get_secret_value()
