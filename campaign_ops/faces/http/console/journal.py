"""Journal: every repair and manual fix of one platform: what it changed, who asked for it and why, and its undo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.model import RepairKind
from campaign_ops.faces.http import shapes
from campaign_ops.faces.http.api.common import checked
from campaign_ops.faces.http.api.records import RepairFilter, list_repairs
from campaign_ops.faces.http.console.pages import Visitor, chosen, render, visitor_of
from campaign_ops.faces.http.problems import Problem, problem_of

router = APIRouter(include_in_schema=False)
TheVisitor = Annotated[Visitor, Depends(visitor_of)]

PAGE = 30
LONGEST_VALUE = 500
"""Characters of one value before or after: a decision about recipients keeps thousands of ids."""


@router.get("/journal")
def journal(
    visitor: TheVisitor,
    platform: Annotated[str, Query(max_length=31)] = "",
    campaign: Annotated[str, Query(max_length=255)] = "",
    kind: RepairKind | Literal[""] = "",
    cursor: Annotated[str, Query(max_length=600)] = "",
    done: int | None = None,
) -> Response:
    """Show the journal, the newest first. ``done`` is the number of a fix that was just made."""
    place = chosen(visitor, platform)
    wanted = RepairFilter(checked(campaign.strip(), "campaign") or None, kind=kind or None)
    query = {"platform": place.platform, "campaign": wanted.campaign, "kind": wanted.kind}
    document: shapes.Repairs = {"repairs": [], "next": None}
    problem: Problem | None = None
    try:
        document = list_repairs(
            visitor.service, place, wanted, limit=PAGE, cursor=cursor or None, path="/journal", query=query
        )
    except CampaignOpsError as error:
        problem = problem_of(error)
    return render(
        visitor,
        "journal.html",
        status=200 if problem is None else problem.status,
        platform=place.platform,
        document=document,
        problem=problem,
        kinds=list(RepairKind),
        kind=wanted.kind or "",
        campaign=wanted.campaign or "",
        cursor=cursor,
        changes=changes,
        done=next((repair for repair in document["repairs"] if repair["id"] == done), None),
    )


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Each column that a repair wrote, with its value before and after; empty where there is none."""
    return [(name, _value(before, name), _value(after, name)) for name in dict.fromkeys([*before, *after])]


def _value(row: Mapping[str, object], name: str) -> str:
    if name not in row:
        return ""
    value = row[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} … ({len(text):,} characters)"
