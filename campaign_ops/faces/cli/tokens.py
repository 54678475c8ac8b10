"""``token create``, ``token list`` and ``token revoke``: who may use the HTTP interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, cast

import typer

from campaign_ops.access import create_token, list_tokens, revoke_token, unknown_tenants
from campaign_ops.core.errors import NotFound
from campaign_ops.core.tokens import Scope, TokenState, hash_of, new_token
from campaign_ops.core.wording import nearest, plural
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command, group
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.history import parse_time
from campaign_ops.faces.cli.runner import Answer, Call, gravest_of, operator
from campaign_ops.faces.cli.screen import Rows, clean, line
from campaign_ops.faces.documents import token_document

By: TypeAlias = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Your name, for the list; default: the system's user name.")
]

group("token")


@dataclass
class _NewToken:
    """The token that all platforms of a call get; its text is given out once."""

    id: str
    secret: str
    text: str | None

    def text_once(self) -> str | None:
        text, self.text = self.text, None
        return text


def _created(outcomes: Sequence[shapes.PlatformOutcome]) -> str:
    """The text of a new token, and where it works."""
    results = {outcome["platform"]: cast("shapes.TokenCreatedResult | None", outcome["result"]) for outcome in outcomes}
    stored = {platform: result for platform, result in results.items() if result is not None}
    if not stored:
        return ""
    token = next(iter(stored.values()))["token"]
    text = next(result["text"] for result in stored.values() if result["text"])
    lines = [f"token {token['id']} ({clean(token['name'])}): {_what(token)}; works on {', '.join(stored)}"]
    if missing := [platform for platform in results if platform not in stored]:
        lines.append(
            f"It does not work on {', '.join(missing)}. Create one for there, or revoke it and create it again."
        )
    if unknown := set.intersection(*(set(result["unknown_tenants"]) for result in stored.values())):
        tenants = clean(", ".join(sorted(unknown)))
        lines.append(f"No campaign of tenant {tenants} is on any of these platforms: check the spelling.")
    return "\n".join([*lines, "This is the token. It is not stored and not shown again:", text, ""])


@command(
    name="token create",
    several=True,
    shape=shapes.TokenCreatedResult,
    together=_created,
    examples=[
        "token create --name grafana --scope metrics",
        "token create --name helpdesk --scope read,repair --tenant shop_1 --tenant shop_2 --expires 90d",
    ],
)
def create(
    call: Call,
    *,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Who will use it: the actor in the journal.")],
    scope: Annotated[
        str,
        typer.Option("--scope", metavar="SCOPES", help=f"What it may be used for, by commas: {', '.join(Scope)}."),
    ],
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="ID", help="Only this tenant's rows; may be repeated. Default: all tenants."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="When it ends: 12h, 90d, or 2026-01-31T08:00Z. Default: never."),
    ] = None,
    by: By = "",
) -> Answer:
    """Create a token for the HTTP interface and print it, once.

    One token for every platform, unless one is named. Each platform's database gets its hash, and nothing that a reader
    could use as a token. Where a database is away, the token works on the other platforms alone.
    """
    if not name.strip():
        raise typer.BadParameter("takes a name for the journal", param_hint="--name")
    if tenant and not all(each.strip() for each in tenant):
        raise typer.BadParameter("takes a tenant's id", param_hint="--tenant")
    new = call.shared.setdefault("token", _NewToken(*new_token()))
    assert isinstance(new, _NewToken)
    token = create_token(
        call.platform,
        new.id,
        hash_of(new.secret),
        name=name.strip(),
        scopes=_scopes(scope),
        tenants=tenant or None,
        expires=None if expires is None else parse_time(expires, "--expires"),
        by=by.strip() or operator(),
    )
    result: shapes.TokenCreatedResult = {
        "token": token_document(token),
        "text": new.text_once(),
        "unknown_tenants": unknown_tenants(call.platform, token),
    }
    return Answer(result, [])


def _scopes(text: str) -> set[Scope]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in set(Scope):
            raise typer.BadParameter(f"no scope {word!r}; {nearest(word, Scope)}", param_hint="--scope")
    if not words:
        raise typer.BadParameter(f"takes one or more of {', '.join(Scope)}", param_hint="--scope")
    return {Scope(word) for word in words}


@command(
    name="token list",
    several=True,
    shape=shapes.TokensResult,
    examples=["token list", "token list --platform sms --json"],
)
def list_(call: Call) -> Answer:
    """Show the tokens that reach each platform, and their last use.

    Expired and revoked ones stay in the list, since the journal names them.
    """
    tokens = [token_document(token) for token in list_tokens(call.platform)]
    active = sum(token["state"] == TokenState.ACTIVE for token in tokens)
    summary = line(f"{call.name}: {plural(len(tokens), 'token')}, {active} active", style="bold")
    result: shapes.TokensResult = {"tokens": tokens}
    head = ["token", "name", "state", "last used (UTC)", "by", "may"]
    return Answer(result, [summary, *([Rows(head, [_row(token) for token in tokens])] if tokens else [])])


def _row(token: shapes.Token) -> list[object]:
    used = _minute(token["last_used_at"]) if token["last_used_at"] else "never"
    return [token["id"], token["name"], token["state"], used, token["created_by"], _what(token)]


def _what(token: shapes.Token) -> str:
    """The scopes of a token, its tenants, and its end."""
    tenants = "all tenants" if token["tenants"] is None else f"tenants {clean(', '.join(token['tenants']))}"
    end = f"until {_minute(token['expires_at'])} UTC" if token["expires_at"] else "without an end"
    if token["revoked_at"]:
        end = f"revoked {_minute(token['revoked_at'])} UTC by {clean(token['revoked_by'])}"
    return f"{', '.join(token['scopes'])}; {tenants}; {end}"


def _minute(text: str | None) -> str:
    return (text or "")[:16].replace("T", " ")


def _unless_revoked_elsewhere(outcomes: Sequence[shapes.PlatformOutcome]) -> ExitCode:
    """A platform that has no such token is no mistake if another has revoked it."""
    results: list[Any] = [outcome["result"] for outcome in outcomes]
    if not any(result is not None and result["token"] is not None for result in results):
        return gravest_of(outcomes)
    return gravest_of([outcome for outcome in outcomes if outcome["exit_code"] != ExitCode.REFUSED])


@command(
    name="token revoke",
    several=True,
    shape=shapes.TokenRevokedResult,
    exit_code=_unless_revoked_elsewhere,
    examples=["token revoke a1b2c3d4e5"],
)
def revoke(
    call: Call,
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, from `token list`.")],
    *,
    by: By = "",
) -> Answer:
    """Revoke a token, at once.

    On every platform, unless one is named. Where a database is away the token still works: revoke it there again.
    """
    try:
        revoked = revoke_token(call.platform, token, by.strip() or operator())
    except NotFound:
        if call.alone:
            raise
        absent: shapes.TokenRevokedResult = {"id": token, "token": None}
        return Answer(absent, [line(f"{call.name}: no such token: {token}")], ExitCode.REFUSED)
    result: shapes.TokenRevokedResult = {"id": token, "token": token_document(revoked)}
    return Answer(result, [line(f"{call.name}: token {token} ({revoked.name}) is revoked")])
