"""Tokens: who may come in, and what was attempted. Nothing is changed here: that is for the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from campaign_ops.access import AuditEntry, audits, list_tokens
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces import shapes
from campaign_ops.faces.documents import token_document
from campaign_ops.faces.http.console.pages import Visitor, chosen, not_for_tenants, render, visitor_of

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

TOKENS_SHOWN = 200
ATTEMPTS_SHOWN = 50


@dataclass(frozen=True)
class PlatformAccess:
    """The tokens of one platform and the latest attempts; ``error`` says why they are not known."""

    platform: str
    tokens: list[shapes.Token] = field(default_factory=list)
    more: int = 0
    attempts: list[AuditEntry] = field(default_factory=list)
    error: str = ""


@router.get("/tokens")
def tokens(visitor: TheVisitor) -> Response:
    """Show the tokens and the latest attempts of every platform."""
    names = [name for name in visitor.platforms if not visitor.bound(name)]
    if not names:
        chosen(visitor, "")
        return not_for_tenants(visitor)
    return render(visitor, "tokens.html", platforms=[_access(visitor, name) for name in names])


def _access(visitor: Visitor, name: str) -> PlatformAccess:
    try:
        with visitor.service.pool.reading(name) as connected:
            known, attempts = list_tokens(connected), audits(connected, ATTEMPTS_SHOWN)
    except CampaignOpsError as error:
        return PlatformAccess(name, error=str(error))
    shown = [token_document(token) for token in known[:TOKENS_SHOWN]]
    return PlatformAccess(name, shown, len(known) - len(shown), attempts)
