"""What needs a person after a sweep, each with the next step: a section of the health report, and a few lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.confirmation import Offer
from campaign_ops.core.console import Console
from campaign_ops.core.markdown import bullet
from campaign_ops.core.model import Verdict
from campaign_ops.core.next_steps import next_step
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.wording import SHOWN, counted, cut, ids

if TYPE_CHECKING:
    from campaign_ops.core.report import HealthReport

INLINE = 999
"""Characters of Markdown that Dagster shows in its place; longer ones hide behind a button."""

_LONGEST = 120  # of one subject; a bar or a `<` of another person's text takes up to four characters when escaped
_LONGEST_ID = 40
_NAMED = 3


def people(campaigns: int, reservations: int) -> str:
    """``2 campaigns and 1 reservation need a person``: counted apart, since one often has many of the other."""
    counts = ((campaigns, "campaign"), (reservations, "reservation"))
    parts = [counted(count, noun) for count, noun in counts if count]
    verb = "needs" if campaigns + reservations == 1 else "need"
    return f"{' and '.join(parts)} {verb} a person" if parts else "nothing needs a person"


def person_section(report: HealthReport, console: Console | None) -> str:
    """The section of the health report: what kept the sweep from its work, then each campaign and reservation."""
    items = report.for_person
    lines = [bullet(line) for line in _trouble(report)]
    lines += [_item(item, report.platform, console) for item in items[:SHOWN]]
    if len(items) > SHOWN:
        lines.append(bullet(f"and {len(items) - SHOWN} more: {ids(item.target for item in items[SHOWN:])}"))
    return "## Needs a person\n\n" + ("\n".join(lines) if lines else "Nothing.")


def needs_person_now(report: HealthReport, console: Console | None = None) -> str:
    """The same in at most ``INLINE`` characters: alike campaigns are one line, and what finds no room is counted."""
    figures = report.figures()
    lines = [*map(bullet, _trouble(report, short=True)), *map(bullet, alike(report.for_person, report.platform))]
    if report.for_person:
        head = f"**{people(figures['needs_person'], figures['reservations_need_person'])}**"
    else:
        head = "**Something kept the sweep from its work**" if lines else "Nothing needs a person."
    link = f" [console]({console.platform(report.platform)})" if console else ""
    return _fitted(head + (link if len(link) < INLINE // 5 else ""), lines)


def _fitted(head: str, lines: Sequence[str]) -> str:
    """As many list items as there is room for in ``INLINE`` characters, and the number of the others."""
    for kept in range(len(lines), -1, -1):
        more = [f"- and {len(lines) - kept} more in `report`"] if kept < len(lines) else []
        text = "\n".join([head, "", *lines[:kept], *more]) if lines else head
        if len(text) <= INLINE:
            return text
    return head


def _item(item: PlanItem, platform: str, console: Console | None) -> str:
    name = f"{item.name} ({item.target})" if item.name != item.target else item.target
    link = f"[console]({console.campaign(platform, item.campaign_id)})" if console and item.campaign_id else ""
    return bullet(f"{name}: {item.verdict or 'credits'}: {item.reason}; next: {next_step(item, platform)}", link)


def alike(items: Iterable[PlanItem], platform: str) -> Iterator[str]:
    """One line for all campaigns of one verdict and next step: 300 campaigns and one outage are one line."""
    order = [*Verdict, None]
    keyed = [(order.index(item.verdict), next_step(item, platform, "ID"), item) for item in items]
    for (_, step), group in groupby(sorted(keyed, key=lambda key: key[:2]), key=lambda key: key[:2]):
        yield _line([item for _, _, item in group], step, platform)


def _line(items: Sequence[PlanItem], step: str, platform: str) -> str:
    """The line of a group; one item alone has its reason, and its id in the command that is copied."""
    verdict = items[0].verdict or "credits"
    if len(items) == 1 and len(items[0].target) <= _LONGEST_ID:
        what = cut(f"{verdict}: {items[0].target}: {items[0].reason}", _LONGEST)
        return f"{what}; next: {next_step(items[0], platform)}"
    named = ", ".join(item.target for item in items[:_NAMED])
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{cut(f'{verdict}: {named}', _LONGEST)}{more}; next: {step}"


def _trouble(report: HealthReport, *, short: bool = False) -> Iterator[str]:
    """What kept the sweep from its work, with the next step; then the command that confirms what a breaker holds."""
    confirming = [_how_to_confirm(report, offer) for offer in report.offers]
    for what, cause in report.troubles:
        step = "" if cause is Cause.BREAKER and confirming else f"; next: {_step(cause, report.platform)}"
        yield f"{cut(what, _LONGEST) if short else what}{step}"
    yield from confirming
    if report.no_offer:
        yield report.no_offer


def _step(cause: Cause | None, platform: str) -> str:
    if cause is None:
        return "wait: the next sweep tries again"
    return CAUSES[cause].next_step.format(platform=platform)


def _how_to_confirm(report: HealthReport, offer: Offer) -> str:
    command = f"campaign-ops reconcile --platform {report.platform} --confirm {offer.code} --reason WHY"
    if not offer.kinds:
        until = f"until {offer.expires_at:%H:%M} UTC"
        return f"{report.plan.alarm}; if this is the queue all the same, confirm it {until}: `{command}`"
    return (
        f"Look at the queue; if {' and '.join(offer.kinds)} is right all the same, confirm exactly this"
        f" until {offer.expires_at:%H:%M} UTC: `{command}`"
    )
