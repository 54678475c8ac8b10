"""Platforms: what is configured, whether it is swept, and what the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.tokens import Scope
from campaign_ops.doctor import Finding, Level, examine
from campaign_ops.faces.http.console.pages import Visitor, not_for_tenants, render, visitor_of
from campaign_ops.faces.http.problems import problem_of
from campaign_ops.faces.http.shapes import PlatformLine
from campaign_ops.settings import PlatformSettings
from campaign_ops.settings.urls import masked_database_url, masked_queue_url

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]


@dataclass(frozen=True)
class Configured:
    """One platform as it is configured. ``settings`` is None where its entry is broken: then ``error`` has why."""

    line: PlatformLine
    settings: PlatformSettings | None
    error: str
    database_url: str = ""
    queue_url: str = ""
    queues: str = ""


@router.get("/platforms")
def platforms(visitor: TheVisitor) -> Response:
    """Show every platform that the visitor may look at, and to those who see all tenants also the broken ones."""
    sound = [_configured(visitor, name) for name in visitor.platforms if name in _by_name(visitor)]
    everywhere = any(not visitor.bound(name) for name in visitor.platforms)
    broken = [(entry.name, str(entry.error)) for entry in visitor.service.settings.broken] if everywhere else []
    return render(visitor, "platforms.html", platforms=sound, broken=broken)


def _by_name(visitor: Visitor) -> dict[str, PlatformSettings]:
    return {settings.name: settings for settings in visitor.service.settings.platforms}


def _configured(visitor: Visitor, name: str) -> Configured:
    known, settings = visitor.service.health.pulses()[name], _by_name(visitor)[name]
    line = visitor.service.health.line(name, known)
    if visitor.bound(name):
        return Configured(line, settings, known.error)
    queue = settings.profile.queue
    queue_url = "" if settings.queue_url is None else masked_queue_url(settings.queue_url, settings.queue_prefix)
    return Configured(
        line,
        settings,
        known.error,
        masked_database_url(settings.database_url),
        queue_url,
        "" if queue is None else ", ".join([queue.name, *queue.also]),
    )


@router.get("/platforms/{platform}/examination")
def examination(visitor: TheVisitor, platform: str) -> Response:
    """Examine a platform with the doctor. Reads only."""
    place = visitor.service.place(visitor.asker, Scope.READ, platform)
    if place.token.tenants is not None:
        return not_for_tenants(visitor)
    findings: list[Finding] = []
    problem = None
    try:
        with visitor.service.pool.reading(place.platform) as connected:
            findings = examine(connected)
    except CampaignOpsError as error:
        problem = problem_of(error)
    levels = [Level.ERROR, Level.WARNING, Level.NOTE, Level.OK]
    groups = [(level, [finding for finding in findings if finding.level is level]) for level in levels]
    return render(
        visitor,
        "examination.html",
        status=200 if problem is None else problem.status,
        platform=place.platform,
        groups=[group for group in groups if group[1]],
        problem=problem,
    )
