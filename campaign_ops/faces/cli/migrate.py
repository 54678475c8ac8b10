"""``migrate``: makes schema campaign_ops or upgrades it; prints the rights that a sweep needs."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign_ops.doctor import grants as grants_of
from campaign_ops.doctor import redis_acl
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import clean, line
from campaign_ops.settings import PlatformSettings


@command(
    several=True,
    shape=shapes.MigrateResult,
    examples=["migrate", "migrate --platform sms --grants campaign_ops | psql shop"],
)
def migrate(
    call: Call,
    *,
    grants: Annotated[
        str | None,
        typer.Option(
            "--grants",
            metavar="ROLE",
            help="Also print the SQL that creates this role with just the rights that a sweep needs, and, as comments,"
            " the commands for a Redis user like it.",
        ),
    ] = None,
) -> Answer:
    """Create schema campaign_ops, or upgrade it.

    The schema is in the platform's own database. Safe to repeat, and to run on several machines at once. Does not touch
    the platform's own tables: their owner runs the SQL of `--grants`.
    """
    if grants is not None and not call.alone:
        raise typer.BadParameter("is for one platform: name it with --platform", param_hint="--grants")
    if grants is not None and not grants.strip():
        raise typer.BadParameter("takes the name of a role", param_hint="--grants")
    before, after = call.platform.migrate()
    statements = None if grants is None else grants_of(call.settings.profile, grants)
    acls = None if grants is None else _redis_acls(call.settings, grants)
    result: shapes.MigrateResult = {
        "before": before,
        "after": after,
        "changed": before != after,
        "grants": statements,
        "redis_acl": acls,
    }
    if before is None:
        what = f"schema campaign_ops created, at revision {after}"
    elif before == after:
        what = f"schema campaign_ops is already at revision {after}"
    else:
        what = f"schema campaign_ops upgraded from revision {before} to {after}"
    text = f"{call.name}: {what}"
    if statements is None:
        return Answer(result, [line(text)])
    sql = [f"-- {text}", *(f"{clean(statement)};" for statement in statements)]
    return Answer(result, [*sql, *(f"-- redis-cli {clean(acl)}" for acl in acls or ())])


def _redis_acls(settings: PlatformSettings, user: str) -> list[str] | None:
    """The Redis user of a sweep, and one that can only read; None without a queue."""
    queue = settings.profile.queue
    if queue is None:
        return None
    reader = redis_acl(queue, settings.queue_prefix, f"{user}_reader", read_only=True)
    return [redis_acl(queue, settings.queue_prefix, user), reader]
