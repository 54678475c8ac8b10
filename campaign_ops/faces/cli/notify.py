"""``notify``: sends what waits in the outbox, or a test message to each channel."""

from __future__ import annotations

import logging
from typing import Annotated

import typer
from rich.console import RenderableType

from campaign_ops.core.causes import Severity
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.notices import Message
from campaign_ops.core.wording import nearest, plural
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, line
from campaign_ops.watch.channels import Channel
from campaign_ops.watch.notify import send_due
from campaign_ops.watch.sending import check, send

log = logging.getLogger(__name__)


@command(
    several=True,
    shape=shapes.NotifyResult,
    examples=["notify", "notify --test --channel oncall --platform sms"],
)
def notify(
    call: Call,
    *,
    test: Annotated[bool, typer.Option("--test", help="Send a test message instead, and change nothing.")] = False,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Only to this channel.")] = None,
) -> Answer:
    """Send the notifications that are due, or a test message.

    The watcher sends them too; this is for a cron job, and for trying a channel out. Exits with 1 when a channel does
    not accept its message: what it did not accept is tried again later. A test without a channel exits with 2, and so
    does a mistake in one: the other channels get theirs.
    """
    mistakes = check(call.settings.notify)
    channels = _chosen(call, channel)
    if mistakes is not None and not channels:
        raise mistakes
    if test and not channels:
        mend = "add one, such as {name: oncall, url: ${ONCALL_URL}}; docs/incidents.md shows more"
        raise ConfigurationError(
            f"no channel is configured for {call.name}", where=call.settings.notify.where, mend=mend
        )
    if test:
        problems = {target.name: send(target, _test_message(call.name, target)) for target in channels}
        refused = {name: problem for name, problem in problems.items() if problem}
        sent, gave_up = len(channels) - len(refused), 0
    else:
        delivered = send_due(call.platform, channels)
        refused, sent, gave_up = delivered.failed, delivered.sent, delivered.gave_up
    result: shapes.NotifyResult = {
        "test": test,
        "sent": sent,
        "gave_up": gave_up,
        "channels": [
            {"name": target.name, "severity": target.severity.value, "problem": refused.get(target.name, "")}
            for target in channels
        ],
    }
    summary = f"{call.name}: {plural(sent, 'test message' if test else 'message')} sent"
    summary += f", {plural(gave_up, 'notification')} given up" if gave_up else ""
    text: list[RenderableType] = [line(summary, style="bold")]
    rows = [[row["name"], row["problem"] or "accepted"] for row in result["channels"] if test or row["problem"]]
    if rows:
        text.append(Rows(["", ""], rows))
    for mistake in str(mistakes or "").splitlines():
        log.warning("%s", mistake)
    if mistakes is not None:
        return Answer(result, text, ExitCode.SET_UP)
    return Answer(result, text, ExitCode.FAILED if refused else ExitCode.DONE)


def _chosen(call: Call, name: str | None) -> tuple[Channel, ...]:
    channels = call.settings.notify.channels
    if name is None:
        return channels
    chosen = tuple(channel for channel in channels if channel.name == name)
    if not chosen:
        mend = nearest(name, [channel.name for channel in channels])
        raise ConfigurationError(f"no channel {name!r} is configured for {call.name}", where="--channel", mend=mend)
    return chosen


def _test_message(platform: str, channel: Channel) -> Message:
    body = f"Channel {channel.name} gets incidents of platform {platform} from severity {channel.severity} on."
    return Message(f"[test] {platform}: a test of channel {channel.name}", body, Severity.INFO)
