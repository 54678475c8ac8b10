"""Requests for changes to a platform: each idempotency key is carried out once, and every attempt is recorded."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.core.idempotency import Beginning
from campaign_ops.journal.audit import AuditEntry
from campaign_ops.platform import Platform


def begin(platform: Platform, key: str, token_id: str, request_hash: str) -> Beginning:
    """Claim a key for a request, and commit that; or return what is known of the request that has claimed it.

    When the connection is lost during the commit, a request may be reported as in progress that never began: nothing is
    done twice for that.

    Args:
        platform: The platform.
        key: The client's idempotency key.
        token_id: The token that sends it; another token's key is a `Mismatch`.
        request_hash: A hash of everything that the answer depends on; another hash is a `Mismatch`.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """
    return platform.on_state(lambda connection: platform.idempotency.begin(connection, key, token_id, request_hash))


def finish(platform: Platform, key: str, status: int, body: Any) -> None:
    """Keep the answer to a request that has begun: HTTP status and body (JSON)."""
    platform.on_state(lambda connection: platform.idempotency.finish(connection, key, status, body))


def abandon(platform: Platform, key: str) -> None:
    """Let go of a key whose request did nothing, so that it can be sent again."""
    platform.on_state(lambda connection: platform.idempotency.abandon(connection, key))


def audit(
    platform: Platform,
    *,
    token_id: str | None,
    actor: str,
    address: str,
    method: str,
    path: str,
    status: int,
    why: str = "",
) -> None:
    """Record an attempt to change something; `AuditEntry` describes each value."""

    def _write(connection: sa.Connection) -> None:
        platform.audit.write(
            connection,
            token_id=token_id,
            actor=actor,
            address=address,
            method=method,
            path=path,
            status=status,
            why=why,
        )

    platform.on_state(_write)


def audits(platform: Platform, limit: int = 100) -> list[AuditEntry]:
    """Return the latest attempts, the newest first.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """
    return platform.on_state(lambda connection: platform.audit.latest(connection, limit), read_only=True)
