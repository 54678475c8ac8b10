"""``doctor``, ``migrate`` and ``config``: whether everything is in place, and putting our own schema there."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType

from campaign_ops.core.wording import plural
from campaign_ops.doctor import Level, examine, redis_acl
from campaign_ops.doctor import grants as grants_of
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, clean, line
from campaign_ops.settings import PlatformSettings
from campaign_ops.settings.urls import masked_database_url, masked_queue_url

_EXITS = {Level.WARNING: ExitCode.PERSON, Level.ERROR: ExitCode.FAILED}
_WORTH_SAYING = (Level.NOTE, Level.WARNING, Level.ERROR)
_STYLES = {Level.WARNING: "yellow", Level.ERROR: "bold red"}


@command(several=True, shape=shapes.DoctorResult, examples=["doctor", "doctor --platform sms --json"])
def doctor(call: Call) -> Answer:
    """Examine a platform before anything touches it.

    Looks at database, rights, profile, indexes, schema and queue, and says what mends them. Reads only. Exits with 1
    when a sweep would fail, with 5 when it would work but something should be seen to.
    """
    findings = examine(call.platform)
    grave = max((one.level for one in findings), key=list(Level).index, default=Level.OK)
    result: shapes.DoctorResult = {
        "level": grave.value,
        "findings": [
            {"check": one.check, "level": one.level.value, "what": one.what, "mend": one.mend} for one in findings
        ],
    }
    levels = Counter(one.level for one in findings)
    counts = [f"{levels[Level.OK]} ok", *(plural(levels[one], one) for one in _WORTH_SAYING if levels[one])]
    rows: list[list[object]] = []
    for one in findings:
        rows.append([one.level, one.check, one.what])
        if one.mend:
            rows.append(["", "", f"mend: {one.mend}"])
    title = line(f"{call.name}: {', '.join(counts)}", style=_STYLES.get(grave, "bold"))
    return Answer(result, [title, Rows(["", "", ""], rows)], _EXITS.get(grave, ExitCode.DONE))


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
            help="Then print the SQL that makes this role, and as comments the command that makes such a Redis user,"
            " with just the rights that a sweep needs.",
        ),
    ] = None,
) -> Answer:
    """Make schema campaign_ops, or bring it up to date.

    It stands in the platform's own database. Safe to repeat, and to run on several machines at once. The platform's own
    tables are not touched: the SQL of `--grants` is for their owner to run.
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
        what = f"schema campaign_ops made, at revision {after}"
    elif before == after:
        what = f"schema campaign_ops is at revision {after} already"
    else:
        what = f"schema campaign_ops upgraded from revision {before} to {after}"
    text = f"{call.name}: {what}"
    if statements is None:
        return Answer(result, [line(text)])
    sql = [f"-- {text}", *(f"{clean(statement)};" for statement in statements)]
    return Answer(result, [*sql, *(f"-- redis-cli {clean(acl)}" for acl in acls or ())])


def _redis_acls(settings: PlatformSettings, user: str) -> list[str] | None:
    """The Redis user of a sweep, and one that can only look; None where there is no queue."""
    queue = settings.profile.queue
    if queue is None:
        return None
    reader = redis_acl(queue, settings.queue_prefix, f"{user}_reader", read_only=True)
    return [redis_acl(queue, settings.queue_prefix, user), reader]


@command(several=True, shape=shapes.ConfigResult, examples=["config", "config --config /etc/campaign_ops.yaml --json"])
def config(call: Call) -> Answer:
    """Check the configuration file and show it.

    Defaults are filled in and secrets masked. Connects to nothing. Every mistake is answered with its line and the
    nearest right key.
    """
    settings = call.settings
    queue = settings.profile.queue
    result: shapes.ConfigResult = {
        "profile": settings.profile.name,
        "database_url": masked_database_url(settings.database_url),
        "queue_url": None
        if settings.queue_url is None
        else masked_queue_url(settings.queue_url, settings.queue_prefix),
        "queue_name": None if queue is None else ", ".join([queue.name, *queue.also]),
        "queue_prefix": None if queue is None else settings.queue_prefix,
        "contact": settings.contact,
        "schedule": settings.schedule,
        "thresholds": {key: getattr(value, "value", value) for key, value in asdict(settings.policy).items()},
        "timeouts": asdict(settings.timeouts),
    }
    return Answer(result, _config_text(settings, result))


def _config_text(settings: PlatformSettings, result: shapes.ConfigResult) -> list[RenderableType]:
    rows: list[tuple[str, object]] = [
        (key, value) for key, value in result.items() if value is not None and not isinstance(value, dict)
    ]
    for section in (result["thresholds"], result["timeouts"]):
        rows += section.items()
    return [line(f"{settings.name}: sound", style="bold"), Rows(["", ""], rows)]
