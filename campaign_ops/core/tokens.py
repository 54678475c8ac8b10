"""Tokens of the HTTP interface: their text, what each allows, and for which tenants. Pure, except for random numbers.

The secret is in the text that its owner has, and nowhere else: databases keep its hash. A secret is too long to be
guessed, so one round of SHA-256 protects it as well as a slow hash would, and costs a request nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

_ID_LETTERS, _ID_LENGTH = string.ascii_lowercase + string.digits, 10
_SECRET_LETTERS, _SECRET_LENGTH = string.ascii_letters + string.digits, 40  # 238 bits
_TEXT = re.compile(r"ops_([a-z0-9]{10})_([A-Za-z0-9]{32,64})")


class Scope(StrEnum):
    """What a token may be used for. None of them includes another."""

    READ = "read"
    METRICS = "metrics"
    SWEEP = "sweep"
    REPAIR = "repair"
    DECIDE = "decide"
    CONFIRM = "confirm"
    INCIDENT = "incident"


class TokenState(StrEnum):
    """Whether a token is accepted, by the database's clock."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as a platform knows it.

    Attributes:
        id: The public part of its text.
        name: The actor in the journal.
        scopes: What it may be used for; words of later releases are left out.
        tenants: The tenants whose rows it reaches; None for all.
        created_at: When it was created.
        created_by: Who created it.
        state: Whether it is accepted.
        expires_at: When it stops being accepted; None for never.
        revoked_at: When it was revoked.
        revoked_by: Who revoked it.
        last_used_at: Its last use, exact to a minute.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    tenants: frozenset[str] | None
    created_at: datetime
    created_by: str
    state: TokenState = TokenState.ACTIVE
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether it allows this."""
        return scope in self.scopes

    def sees(self, tenant: str | None) -> bool:
        """Return whether it reaches rows of this tenant; rows without a tenant are for tokens of all tenants."""
        return self.tenants is None or tenant in self.tenants

    def among(self, tenant: str | None) -> frozenset[str] | None:
        """Return the tenants that remain of those it reaches when one is asked for; None for all of them."""
        if tenant is None:
            return self.tenants
        return frozenset({tenant}) if self.sees(tenant) else frozenset()


def new_token() -> tuple[str, str, str]:
    """Make the id, the secret and the text ``ops_<id>_<secret>`` of a new token."""
    token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_SECRET_LETTERS) for _ in range(_SECRET_LENGTH))
    return token_id, secret, f"ops_{token_id}_{secret}"


def parse(text: str) -> tuple[str, str] | None:
    """Return id and secret of a token's text; None where it is not the text of a token."""
    parts = _TEXT.fullmatch(text)
    return (parts[1], parts[2]) if parts is not None else None


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored_hash: str) -> bool:
    """Return whether a secret has this hash, in a time that does not depend on where they differ."""
    return hmac.compare_digest(hash_of(secret).encode(), stored_hash.encode())
