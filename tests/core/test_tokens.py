"""The text of a token, and what a token allows."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from campaign_ops.core.tokens import Scope, Token, hash_of, matches, new_token, parse

MADE = datetime(2026, 3, 1, tzinfo=UTC)


def token(*scopes: Scope, tenants: frozenset[str] | None = None) -> Token:
    return Token("0123456789", "deploy", frozenset(scopes), tenants, MADE, "ann")


def test_the_text_of_a_new_token_is_its_id_and_its_secret() -> None:
    token_id, secret, text = new_token()
    assert text == f"ops_{token_id}_{secret}"
    assert parse(text) == (token_id, secret)
    assert len(token_id) == 10
    assert len(secret) >= 32
    assert (token_id + secret).isascii()
    assert (token_id + secret).isalnum()


def test_no_two_tokens_share_an_id_or_a_secret() -> None:
    tokens = [new_token() for _ in range(200)]
    assert len({token_id for token_id, _, _ in tokens}) == len({secret for _, secret, _ in tokens}) == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ops_",
        "ops_0123456789_" + "a" * 31,
        "ops_0123456789_" + "a" * 65,
        "ops_012345678_" + "a" * 40,
        "ops_0123456789_" + "a" * 40 + "\n",
        " ops_0123456789_" + "a" * 40,
        "ops_0123456789_" + "ä" * 40,
        "ops_0123456789_" + "a" * 39 + "\0",
        "OPS_0123456789_" + "a" * 40,
        "Bearer ops_0123456789_" + "a" * 40,
    ],
)
def test_other_texts_are_not_tokens(text: str) -> None:
    assert parse(text) is None


def test_a_hash_is_sha_256_and_belongs_to_one_secret() -> None:
    assert hash_of("secret") == hashlib.sha256(b"secret").hexdigest()
    assert matches("secret", hash_of("secret"))
    assert not matches("Secret", hash_of("secret"))
    assert not matches("secret", "")
    assert not matches("secret", "ä")


def test_a_token_allows_its_scopes_alone() -> None:
    repairing = token(Scope.REPAIR)
    assert [scope for scope in Scope if repairing.may(scope)] == [Scope.REPAIR]


def test_a_token_of_tenants_sees_their_rows_alone() -> None:
    bound = token(Scope.READ, tenants=frozenset({"north"}))
    assert [bound.sees(tenant) for tenant in ("north", "south", "", None)] == [True, False, False, False]
    assert all(token(Scope.READ).sees(tenant) for tenant in ("north", "", None))
    assert not token(Scope.READ, tenants=frozenset()).sees("north")


@pytest.mark.parametrize(
    ("tenants", "asked", "left"),
    [
        (None, None, None),
        (None, "north", {"north"}),
        ({"north"}, None, {"north"}),
        ({"north", "south"}, "north", {"north"}),
        ({"north"}, "south", set()),
    ],
)
def test_a_tenant_that_is_asked_for_is_seen_only_by_a_token_that_reaches_it(
    tenants: set[str] | None, asked: str | None, left: set[str] | None
) -> None:
    mine = token(Scope.READ, tenants=None if tenants is None else frozenset(tenants))
    assert mine.among(asked) == left
