"""Tokens of the HTTP interface. A token has a row under the campaign table of each platform that it reaches."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.tokens import Scope, Token, TokenState
from campaign_ops.journal import schema

_TOUCH_AFTER = timedelta(minutes=1)
_SCOPES = {scope.value: scope for scope in Scope}


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token and the hash of its secret."""

    token: Token
    hash: str = field(repr=False)


class TokenLog:
    """The tokens of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def create(
        self,
        connection: sa.Connection,
        token_id: str,
        secret_hash: str,
        *,
        name: str,
        scopes: Collection[Scope],
        tenants: Collection[str] | None,
        expires: timedelta | datetime | None,
        by: str,
    ) -> Token:
        """Store a token, once: a second call with the same id and hash changes nothing.

        Args:
            connection: An open connection.
            token_id: The public part of its text.
            secret_hash: The hash of its secret.
            name: The actor in the journal.
            scopes: What it may be used for.
            tenants: The tenants whose rows it reaches; None for all.
            expires: A moment, or a time from now on; None for never.
            by: Who creates it.
        """
        values = {
            "tables": self.tables,
            "id": token_id,
            "hash": secret_hash,
            "name": name,
            "scopes": sorted(scope.value for scope in scopes),
            "tenants": None if tenants is None else sorted(tenants),
            "created_by": by,
            "expires_at": sa.func.now() + expires if isinstance(expires, timedelta) else expires,
        }
        connection.execute(insert(schema.token).values(values).on_conflict_do_nothing())
        return _token(connection.execute(self._query().where(schema.token.c.id == token_id)).one())

    def list(self, connection: sa.Connection) -> list[Token]:
        """All tokens, the newest first; revoked and expired ones, too, since the journal names them."""
        newest = self._query().order_by(schema.token.c.created_at.desc(), schema.token.c.id)
        return [_token(row) for row in connection.execute(newest)]

    def revoke(self, connection: sa.Connection, token_id: str, by: str) -> Token | None:
        """Revoke a token; one that is revoked already stays as it was. Return it, or None where there is none."""
        table = schema.token.c
        mine = (table.tables == self.tables, table.id == token_id)
        values = {"revoked_at": sa.func.now(), "revoked_by": by}
        connection.execute(sa.update(schema.token).where(*mine, table.revoked_at.is_(None)).values(values))
        row = connection.execute(self._query().where(table.id == token_id)).one_or_none()
        return None if row is None else _token(row)

    def find(self, connection: sa.Connection, token_id: str) -> StoredToken | None:
        """A token that is neither revoked nor expired."""
        row = connection.execute(self._query().where(schema.token.c.id == token_id)).one_or_none()
        return StoredToken(_token(row), row.hash) if row is not None and row.state == TokenState.ACTIVE else None

    def touch(self, connection: sa.Connection, token_id: str) -> None:
        """Record that a token is used; writes at most once a minute."""
        table = schema.token.c
        due = sa.or_(table.last_used_at.is_(None), table.last_used_at < sa.func.now() - _TOUCH_AFTER)
        mine = (table.tables == self.tables, table.id == token_id, due)
        connection.execute(sa.update(schema.token).where(*mine).values(last_used_at=sa.func.now()))

    def _query(self) -> sa.Select[Any]:
        table = schema.token.c
        state = sa.case(
            (table.revoked_at.is_not(None), TokenState.REVOKED.value),
            (table.expires_at <= sa.func.clock_timestamp(), TokenState.EXPIRED.value),
            else_=TokenState.ACTIVE.value,
        )
        return sa.select(schema.token, state.label("state")).where(table.tables == self.tables)


def _token(row: sa.Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=frozenset(_SCOPES[word] for word in row.scopes if word in _SCOPES),
        tenants=None if row.tenants is None else frozenset(row.tenants),
        created_at=row.created_at,
        created_by=row.created_by,
        state=TokenState(row.state),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
        last_used_at=row.last_used_at,
    )
