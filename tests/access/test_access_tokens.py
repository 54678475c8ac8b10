"""Tokens in the database of each platform that they reach."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from campaign_ops.access import authenticate, create_token, list_tokens, revoke_token
from campaign_ops.core.errors import NotFound, Refused, StateSchemaError
from campaign_ops.core.tokens import Scope, TokenState, hash_of, new_token
from tests.conftest import World, Worlds
from tests.doctor.bench import least, run


def make(world: World, scopes: Collection[Scope] = (Scope.READ,), name: str = "deploy", **more: Any) -> tuple[str, str]:
    """The id and the text of a token that reaches this platform."""
    token_id, secret, text = new_token()
    create_token(world.platform, token_id, hash_of(secret), name=name, scopes=scopes, by="ann", **more)
    return token_id, text


def test_a_token_is_recognised_with_what_it_may(sms: World) -> None:
    token_id, text = make(sms, (Scope.READ, Scope.REPAIR), tenants=["south", "north"], expires=timedelta(days=90))
    token = authenticate(sms.platform, text)
    assert token is not None
    assert (token.id, token.name, token.created_by) == (token_id, "deploy", "ann")
    assert token.scopes == {Scope.READ, Scope.REPAIR}
    assert token.tenants == frozenset({"north", "south"})
    assert token.state is TokenState.ACTIVE
    assert token.expires_at is not None
    assert token.expires_at - token.created_at == timedelta(days=90)


def test_a_database_holds_no_secret(sms: World) -> None:
    """Whoever reads the table, or a backup of it, has no token."""
    _, text = make(sms)
    authenticate(sms.platform, text)
    secret = text.rpartition("_")[2]
    (row,) = sms.rows("SELECT token.*, token::text AS whole FROM campaign_ops.token")
    assert row["hash"] == hash_of(secret)
    assert secret not in row["whole"]
    assert secret not in repr(sms.platform.on_state(lambda connection: sms.platform.tokens.find(connection, row["id"])))
    assert row["hash"] not in repr(
        sms.platform.on_state(lambda connection: sms.platform.tokens.find(connection, row["id"]))
    )


def test_another_secret_of_the_same_token_is_not_recognised(sms: World) -> None:
    _, text = make(sms)
    last = "a" if text[-1] != "a" else "b"
    assert authenticate(sms.platform, text[:-1] + last) is None
    assert authenticate(sms.platform, "nothing like a token") is None
    assert authenticate(sms.platform, new_token()[2]) is None
    assert sms.rows("SELECT last_used_at FROM campaign_ops.token") == [{"last_used_at": None}]


def test_a_token_expires_by_the_clock_of_the_database(sms: World) -> None:
    _, text = make(sms, expires=timedelta(hours=1))
    assert authenticate(sms.platform, text) is not None
    sms.rows("UPDATE campaign_ops.token SET expires_at = now() - interval '1 second' RETURNING id")
    assert authenticate(sms.platform, text) is None
    assert [token.state for token in list_tokens(sms.platform)] == [TokenState.EXPIRED]


def test_a_revoked_token_is_not_recognised_and_stays_in_the_list(sms: World) -> None:
    token_id, text = make(sms)
    revoked = revoke_token(sms.platform, token_id, "bob")
    assert (revoked.state, revoked.revoked_by) == (TokenState.REVOKED, "bob")
    assert authenticate(sms.platform, text) is None
    again = revoke_token(sms.platform, token_id, "eve")
    assert (again.revoked_by, again.revoked_at) == ("bob", revoked.revoked_at)
    assert list_tokens(sms.platform) == [again]


def test_a_token_that_is_not_there_cannot_be_revoked(sms: World) -> None:
    make(sms)
    with pytest.raises(NotFound, match="no such token"):
        revoke_token(sms.platform, "0123456789", "bob")
    assert [token.state for token in list_tokens(sms.platform)] == [TokenState.ACTIVE]


def test_a_token_reaches_the_platforms_that_have_it_alone(worlds: Worlds) -> None:
    """The same token in two databases; a third does not know it, and revoking it in one leaves the other."""
    first, second, third = worlds.make("sms"), worlds.make("messenger"), worlds.make("sms")
    token_id, secret, text = new_token()
    for world in (first, second):
        create_token(world.platform, token_id, hash_of(secret), name="deploy", scopes=[Scope.READ], by="ann")
    assert [authenticate(world.platform, text) is not None for world in (first, second, third)] == [True, True, False]
    revoke_token(first.platform, token_id, "bob")
    assert [authenticate(world.platform, text) is not None for world in (first, second)] == [False, True]


def test_tokens_of_another_campaign_table_in_the_same_database_do_not_count(sms: World) -> None:
    token_id, text = make(sms)
    sms.rows("UPDATE campaign_ops.token SET tables = 'other.Campaign' RETURNING id")
    assert authenticate(sms.platform, text) is None
    assert list_tokens(sms.platform) == []
    with pytest.raises(NotFound):
        revoke_token(sms.platform, token_id, "bob")
    assert sms.rows("SELECT revoked_at FROM campaign_ops.token") == [{"revoked_at": None}]


def test_creating_a_token_again_changes_nothing(sms: World) -> None:
    """A commit whose answer was lost is repeated."""
    token_id, secret, text = new_token()
    for _ in range(2):
        create_token(sms.platform, token_id, hash_of(secret), name="deploy", scopes=[Scope.READ], by="ann")
    assert len(list_tokens(sms.platform)) == 1
    assert authenticate(sms.platform, text) is not None


def test_the_last_use_is_written_once_a_minute(sms: World) -> None:
    def last_used() -> datetime:
        (token,) = list_tokens(sms.platform)
        assert token.last_used_at is not None
        return token.last_used_at

    _, text = make(sms)
    authenticate(sms.platform, text)
    first = last_used()
    authenticate(sms.platform, text)
    assert last_used() == first
    sms.rows("UPDATE campaign_ops.token SET last_used_at = last_used_at - interval '61 seconds' RETURNING id")
    authenticate(sms.platform, text)
    assert last_used() > first


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"scopes": []},
        {"tenants": ["north", ""]},
        {"expires": datetime(2020, 1, 1, tzinfo=UTC)},
        {"expires": timedelta(0)},
    ],
    ids=str,
)
def test_a_token_that_could_not_be_used_is_refused(sms: World, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        make(sms, **wrong)
    assert list_tokens(sms.platform) == []


def test_a_scope_of_a_later_release_is_left_out(sms: World) -> None:
    _, text = make(sms)
    sms.rows("UPDATE campaign_ops.token SET scopes = '{read,fly}' RETURNING id")
    token = authenticate(sms.platform, text)
    assert token is not None
    assert token.scopes == {Scope.READ}


def test_without_the_tables_the_mend_is_to_migrate(worlds: Worlds) -> None:
    world = worlds.make("sms", migrated=False)
    with pytest.raises(StateSchemaError) as missing:
        authenticate(world.platform, new_token()[2])
    assert "campaign-ops migrate" in missing.value.mend


def test_the_rights_that_the_doctor_prints_are_enough(sms: World) -> None:
    """And a right less is too few: the doctor's list is what these tables need."""
    least(sms)
    token_id, text = make(sms)
    assert authenticate(sms.platform, text) is not None
    revoke_token(sms.platform, token_id, "bob")
    (row,) = sms.rows("SELECT current_user AS name")
    run(sms, f'REVOKE SELECT ON campaign_ops.token FROM "{row["name"].replace(chr(34), chr(34) * 2)}"')
    with pytest.raises(Exception, match="token"):
        authenticate(sms.platform, text)
