"""``incidents``, ``acknowledge``, ``silence`` and ``resolve``: the incidents that need a person, and handling them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer
from rich.console import RenderableType

from campaign_ops.core.causes import CAUSES
from campaign_ops.core.ids import LARGEST_NUMBER
from campaign_ops.core.incidents import Incident, State
from campaign_ops.core.wording import plural
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.history import parse_time
from campaign_ops.faces.cli.runner import Answer, Call, operator
from campaign_ops.faces.cli.screen import Rows, line
from campaign_ops.faces.documents import incident_document, iso
from campaign_ops.queries.incidents import incidents as read_incidents
from campaign_ops.queries.incidents import last_look
from campaign_ops.watch import incidents as handling

IncidentId: TypeAlias = Annotated[
    int, typer.Argument(metavar="INCIDENT", min=1, max=LARGEST_NUMBER, help="The incident's number, from `incidents`.")
]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal.")]
By: TypeAlias = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Your name, for the journal; default: the system's user name.")
]


@command(
    several=True,
    shape=shapes.IncidentsResult,
    examples=["incidents", "incidents --all --platform sms --json"],
)
def incidents(
    call: Call,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are resolved, or only suspected so far.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most so many.")] = 100,
) -> Answer:
    """Show the incidents: cause, since when, the campaigns behind it, the next step.

    As the watcher and Dagster's sensors have judged them; the platform is not looked at. Exits with 5 while one is open
    that no person has acknowledged or silenced.
    """
    read = read_incidents(call.platform, everything=everything, limit=limit)
    rows = [incident_document(call.name, row) for row in read]
    is_open = sum(row["state"] == State.OPEN for row in rows)
    look = last_look(call.platform)
    result: shapes.IncidentsResult = {"open": is_open, "last_look_at": iso(look.at), "incidents": rows}
    text: list[RenderableType] = []
    for row in rows:
        text += [*_block(row), line("")]
    summary = f"{call.name}: {plural(len(rows), 'incident')}, {is_open} open"
    summary += f"; {look.problem}" if look.problem else ""
    return Answer(result, [*text, line(summary, style="bold")], ExitCode.PERSON if is_open else ExitCode.DONE)


def _block(row: shapes.Incident) -> list[RenderableType]:
    state = row["state"] + (f" until {_minute(row['silenced_until'])}" if row["state"] == "silenced" else "")
    if row["handled_by"]:
        state += f"; {row['handled_by']}: {row['handled_reason']}"
    since = f"{_minute(row['first_seen_at'])} UTC, last seen {_minute(row['last_seen_at'])}"
    if row["resolved_at"]:
        since += f", over {_minute(row['resolved_at'])}"
    rows = [["State", state], ["Since", since], ["Evidence", row["detail"]]]
    if row["campaigns"]:
        rows.append(["Campaigns", ", ".join(row["campaigns"])])
    rows.append(["Next step", row["next_step"]])
    style = "bold red" if row["state"] == State.OPEN and row["severity"] == "critical" else "bold"
    return [line(f"{row['id']}  {row['severity']}: {row['headline']}", style=style), Rows(["", ""], rows, indent=3)]


def _minute(text: str | None) -> str:
    return (text or "")[:16].replace("T", " ")


@command(shape=shapes.HandledResult, examples=['acknowledge 12 --reason "TICKET-12"'])
def acknowledge(call: Call, incident: IncidentId, *, reason: Reason = "", by: By = "") -> Answer:
    """Take an incident on.

    It is not repeated any more. That it gets worse, or is over, is still sent.
    """
    person = _person(reason, by)
    return _handled(call, handling.acknowledge(call.platform, incident, **person), "acknowledged")


@command(
    shape=shapes.HandledResult,
    examples=['silence 12 --until 4h --reason "deployment"', 'silence 12 --until 2026-01-31T08:00Z --reason "known"'],
)
def silence(
    call: Call,
    incident: IncidentId,
    *,
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="For how long: 30m, 24h, 7d; or 2026-01-31T08:00Z.")
    ],
    reason: Reason = "",
    by: By = "",
) -> Answer:
    """Silence an incident for a time.

    Nothing is sent about it before, not even its end, unless it gets worse.
    """
    person, end = _person(reason, by), parse_time(until, "--until")
    after = handling.silence(call.platform, incident, until=end, **person)
    return _handled(call, after, f"silenced until {_minute(iso(after.silenced_until))} UTC")


@command(shape=shapes.HandledResult, examples=['resolve 12 --reason "workers are back"'])
def resolve(call: Call, incident: IncidentId, *, reason: Reason = "", by: By = "") -> Answer:
    """End an incident.

    If its cause holds, the next looks open it again.
    """
    person = _person(reason, by)
    return _handled(call, handling.resolve(call.platform, incident, call.settings.notify, **person), "resolved")


def _person(reason: str, by: str) -> dict[str, str]:
    if not reason.strip():
        raise typer.BadParameter("say why, for the journal", param_hint="--reason")
    return {"reason": reason.strip(), "by": by.strip() or operator()}


def _handled(call: Call, incident: Incident, what: str) -> Answer:
    assert incident.id is not None
    result: shapes.HandledResult = {
        "id": incident.id,
        "state": incident.state.value,
        "silenced_until": iso(incident.silenced_until),
    }
    words = CAUSES[incident.cause].headline(incident.count)
    return Answer(result, [line(f"{call.name}: incident {incident.id} ({words}) is {what}")])
