"""The text of a notification: platform, cause, count, since when, campaigns, next step, link. Pure.

Ids and details are other people's data: each becomes one line of printable characters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from campaign_ops.core.causes import CAUSES, Severity
from campaign_ops.core.incidents import Incident, What, loudest_severity

T = TypeVar("T")

_LEAD = {
    What.OPENED: "",
    What.REOPENED: "again: ",
    What.WORSENED: "worse: ",
    What.REPEATED: "still: ",
    What.RESOLVED: "resolved: ",
}
_LONGEST = 500  # characters of a detail: some channels cut at 2,000
_SHOWN = 10  # campaigns named


@dataclass(frozen=True, slots=True)
class Message:
    """A message to one channel. ``over``: the incident has ended."""

    subject: str
    body: str
    severity: Severity
    over: bool = False


def message(
    platform: str, incident: Incident, what: What, *, link: str = "", tenants: Collection[str] = (), by: str = ""
) -> Message:
    """Say what happened to an incident.

    Args:
        platform: Its name.
        incident: As it is after the change; it has its number.
        what: The change.
        link: Where more is to be seen.
        tenants: The only owners whose campaigns may be named; empty for all.
        by: The person who resolved it, with the reason.
    """
    fixed = CAUSES[incident.cause]
    severity, over = loudest_severity(incident), what is What.RESOLVED
    names_all = not tenants or (bool(incident.tenants) and set(incident.tenants) <= set(tenants))
    headline = fixed.headline(incident.count if names_all and not over else 0)
    subject = f"[{severity}] {platform}: {_LEAD.get(what, '')}{headline}"
    lines = [f"Platform {platform}: {headline}.", _since(incident)]
    if by:
        lines.append(f"Resolved by {by}.")
    if incident.detail and names_all:
        lines.append(f"{'It was' if over else 'Evidence'}: {incident.detail}")
    if incident.campaigns and names_all and not over:
        lines.append(f"Campaigns: {_listed(incident)}")
    if not over:
        lines.append(f"Next step: {fixed.next_step.format(platform=platform).replace('`', '')}")
    if not over and incident.id:
        lines.append(f"Acknowledge: campaign-ops acknowledge {incident.id} --platform {platform} --reason WHY")
    number = f"Incident {incident.id}" if incident.id else "Not recorded: the database cannot be written"
    lines.append(f"{number}, {link}" if link else number)
    return Message(one_line(subject), "\n".join(map(one_line, lines)), severity, over)


def portions(due: Sequence[T], free: int) -> list[Sequence[T]]:
    """Divide what is due among the messages that may still be sent: one item each, and the rest in the last."""
    if free <= 0:
        return []
    if len(due) <= free:
        return [[item] for item in due]
    return [*([item] for item in due[: free - 1]), due[free - 1 :]]


def folded(channel: str, messages: Sequence[Message]) -> Message:
    """Several messages as one, the gravest first."""
    messages = sorted(messages, key=lambda message: -message.severity.rank)
    severity = messages[0].severity
    subject = f"[{severity}] {len(messages)} changes of incidents"
    more = [f"- {message.subject}" for message in messages[:50]]
    if len(messages) > 50:
        more.append(f"and {len(messages) - 50} more; campaign-ops incidents lists them")
    lead = f"Channel {channel} has reached its limit of messages an hour, so these come as one:"
    return Message(subject, "\n".join([lead, *more]), severity, all(message.over for message in messages))


def one_line(text: str) -> str:
    """Return the text as one line of printable characters, cut where it is too long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _since(incident: Incident) -> str:
    since = f"Since {_moment(incident.first_seen_at)}"
    return f"{since}, over at {_moment(incident.resolved_at)}." if incident.resolved_at is not None else f"{since}."


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _listed(incident: Incident) -> str:
    shown, kept = incident.campaigns[:_SHOWN], len(incident.campaigns)
    of_campaigns = CAUSES[incident.cause].noun == "campaign"
    more = max(incident.count if of_campaigns else 0, kept) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
