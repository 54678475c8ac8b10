"""``config``: the configuration as it was understood, secrets masked."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import RenderableType

from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, line
from campaign_ops.settings import PlatformSettings
from campaign_ops.settings.urls import masked_database_url, masked_queue_url
from campaign_ops.watch.sending import check


@command(
    several=True,
    shape=shapes.ConfigResult,
    examples=["config", "config --config /etc/campaign_ops.yaml --json"],
)
def config(call: Call) -> Answer:
    """Check the configuration file and show it.

    Fills in defaults and masks secrets. Connects to nothing. Names the line of every mistake and the nearest right key.
    """
    settings = call.settings
    if (mistakes := check(settings.notify)) is not None:
        raise mistakes
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
        "notify": [f"{channel.name} (from {channel.severity} on)" for channel in settings.notify.channels],
    }
    return Answer(result, _config_text(settings, result))


def _config_text(settings: PlatformSettings, result: shapes.ConfigResult) -> list[RenderableType]:
    rows: list[tuple[str, object]] = [
        (key, ", ".join(value) or "no channel" if isinstance(value, list) else value)
        for key, value in result.items()
        if value is not None and not isinstance(value, dict)
    ]
    for section in (result["thresholds"], result["timeouts"]):
        rows += section.items()
    return [line(f"{settings.name}: valid", style="bold"), Rows(["", ""], rows)]
