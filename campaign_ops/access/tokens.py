"""Create, list and revoke the tokens that reach a platform, and recognise one."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, NotFound, Refused
from campaign_ops.core.tokens import Scope, Token, TokenState, matches, parse
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns

log = logging.getLogger(__name__)


def create_token(
    platform: Platform,
    token_id: str,
    secret_hash: str,
    *,
    name: str,
    scopes: Collection[Scope],
    tenants: Collection[str] | None = None,
    expires: timedelta | datetime | None = None,
    by: str,
) -> Token:
    """Let a token reach this platform; id and secret come from `core.tokens.new_token`.

    Args:
        platform: The platform.
        token_id: The public part of the token's text.
        secret_hash: The hash of its secret, from `core.tokens.hash_of`.
        name: The actor in the journal.
        scopes: What it may be used for.
        tenants: The tenants whose rows it reaches, stored as the campaign table spells them; None for all.
        expires: A moment, or a time from now on by the database's clock; None for never.
        by: Who creates it.

    Raises:
        Refused: It would be expired from the start, or have no name or scope.
        StateSchemaError: Our own schema is missing or of another revision.
    """
    if not name.strip() or not scopes or (tenants is not None and not all(tenants)):
        mend = "give it a name, at least one scope, and tenants that have ids"
        raise Refused("a token without a name, a scope or a tenant's id", where=platform.name, mend=mend)

    def _create(connection: sa.Connection) -> Token:
        own = None if tenants is None else {platform.own_tenant(connection, tenant) for tenant in tenants}
        token = platform.tokens.create(
            connection, token_id, secret_hash, name=name.strip(), scopes=scopes, tenants=own, expires=expires, by=by
        )
        if token.state is not TokenState.ACTIVE:
            raise Refused("the token would be expired from the start", where=platform.name, mend="give a later moment")
        return token

    return platform.on_state(_create)


def unknown_tenants(platform: Platform, token: Token) -> list[str]:
    """Return the tenants of a token that no campaign here has; empty where that is not known.

    Not an error: a new tenant has no campaign yet. But a token for a mistyped one sees nothing, and is not told why.
    """

    def _unknown(connection: sa.Connection) -> list[str]:
        tables = platform.tables(connection)
        possible = [tenant for tenant in token.tenants or () if tables.may_be_tenant(tenant)]
        known = set(connection.scalars(campaigns.tenants_among(tables), {"ids": possible}))
        return sorted(set(token.tenants or ()) - known)

    try:
        return platform.database.run(_unknown, read_only=True) if token.tenants else []
    except CampaignOpsError as error:
        log.info("%s: whether its campaigns have these tenants is not known: %s", platform.name, error)
        return []


def list_tokens(platform: Platform) -> list[Token]:
    """Return all tokens of this platform, the newest first, revoked and expired ones included.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """
    return platform.on_state(platform.tokens.list, read_only=True)


def revoke_token(platform: Platform, token_id: str, by: str) -> Token:
    """Let a token no longer reach this platform; one that is revoked already stays as it was.

    Raises:
        NotFound: This platform has no such token.
        StateSchemaError: Our own schema is missing or of another revision.
    """
    token = platform.on_state(lambda connection: platform.tokens.revoke(connection, token_id, by))
    if token is None:
        raise NotFound("no such token", where=f"token {token_id}", mend="`campaign-ops token list` shows them")
    return token


def authenticate(platform: Platform, token_text: str) -> Token | None:
    """Return the token with this text if it reaches this platform now, and record its use; else None.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
        DatabaseUnavailable: It is not known whether the token reaches this platform.
    """
    parts = parse(token_text)
    if parts is None:
        return None
    token_id, secret = parts

    def _recognise(connection: sa.Connection) -> Token | None:
        stored = platform.tokens.find(connection, token_id)
        if stored is None or not matches(secret, stored.hash):
            return None
        platform.tokens.touch(connection, token_id)
        return stored.token

    return platform.on_state(_recognise)
