"""The rules by which a cause becomes an incident and ends, and which changes people are notified of. Pure.

Level, not edge: each look is judged against what is remembered. A cause that a look could not judge stays as it was:
unknown is neither good nor bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from campaign_ops.core.causes import CAUSES, Cause, Severity, hidden_by
from campaign_ops.core.wording import duration

SAMPLE = 20  # campaigns kept with an incident
UNWATCHED_SECONDS = 900
"""A watcher looks each minute; where Dagster's sensor does, it asks each of 1,000 platforms every ten minutes."""


class State(StrEnum):
    """The state of an incident. A suspected one is not notified, and is forgotten at the first good look."""

    SUSPECTED = "suspected"
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


UNRESOLVED = frozenset({State.OPEN, State.ACKNOWLEDGED, State.SILENCED})


class What(StrEnum):
    """A change of an incident; each is an event in its journal."""

    OPENED = "opened"
    REOPENED = "reopened"
    WORSENED = "worsened"
    REPEATED = "repeated"
    EASED = "eased"
    RESOLVED = "resolved"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True)
class Symptom:
    """A problem that a look found.

    Attributes:
        cause: The reason why a person is needed.
        count: The number of things affected, in the cause's unit.
        campaigns: Ids of the campaigns behind it; only the first few are kept.
        tenants: Their owners; empty where the whole platform is concerned.
        detail: One line of evidence.
        severity: Overrides the cause's own.
        lasting_seconds: The time for which it must have lasted before it opens an incident; overrides the cause's own.
    """

    cause: Cause
    count: int = 0
    campaigns: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    detail: str = ""
    severity: Severity | None = None
    lasting_seconds: int | None = None

    @property
    def how_grave(self) -> Severity:
        """Its severity, or its cause's."""
        return self.severity or CAUSES[self.cause].severity


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look at a platform.

    Attributes:
        symptoms: The problems.
        judged: The causes that the look could judge, each with what it rests on, such as ``sweep 12``. A second look at
            the same evidence is no second look; empty text is evidence of its own moment.
        why_over: Why a cause cannot hold any more, where it does not end because all is well; sent with its end.
    """

    symptoms: tuple[Symptom, ...] = ()
    judged: Mapping[Cause, str] = field(default_factory=dict)
    why_over: Mapping[Cause, str] = field(default_factory=dict)

    def __or__(self, other: Look) -> Look:
        """Both looks; where both judged a cause, the second counts."""
        mine = tuple(symptom for symptom in self.symptoms if symptom.cause not in other.judged)
        judged, why_over = {**self.judged, **other.judged}, {**self.why_over, **other.why_over}
        return Look((*mine, *other.symptoms), judged, why_over)


@dataclass(frozen=True, slots=True)
class Rules:
    """Numbers of looks, and times. Units are in the names.

    Attributes:
        looks_to_open: Bad looks in a row that open an incident.
        looks_to_resolve: Good looks in a row that resolve it.
        same_look_seconds: Looks at the present moment that follow each other faster count as one.
        reopen_seconds: The time after its end within which an incident is reopened instead of a new one opened.
        repeat_seconds: The interval at which an open incident is notified again.
        worse_factor: An incident is worse at this many times the count that was last notified.
    """

    looks_to_open: int = 2
    looks_to_resolve: int = 3
    same_look_seconds: float = 20
    reopen_seconds: int = 3_600
    repeat_seconds: int = 14_400
    worse_factor: int = 10


@dataclass(frozen=True, slots=True)
class Incident:
    """The record of one cause of one platform.

    ``looked_at`` and ``evidence`` belong to the last look that counted; ``notified_*`` to the
    last change that people were notified of.
    """

    cause: Cause
    severity: Severity
    state: State
    first_seen_at: datetime
    last_seen_at: datetime
    looked_at: datetime
    id: int | None = None
    evidence: str = ""
    bad_looks: int = 0
    good_looks: int = 0
    count: int = 0
    worst_count: int = 0
    campaigns: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    detail: str = ""
    opened_at: datetime | None = None
    resolved_at: datetime | None = None
    silenced_until: datetime | None = None
    notified_at: datetime | None = None
    notified_count: int = 0
    notified_severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An incident after a look. ``what`` is None where only its looks were counted; ``notified``: people are.

    ``why`` is the reason of an end that its evidence does not give.
    """

    incident: Incident
    what: What | None = None
    notified: bool = False
    discarded: bool = False
    why: str = ""


def judge(known: Mapping[Cause, Incident], look: Look, rules: Rules, now: datetime) -> list[Change]:
    """Judge a look against what is remembered.

    Args:
        known: Every suspected and unresolved incident, and those resolved lately, by cause.
        look: The look to judge.
        rules: Looks and times.
        now: The database's clock.
    """
    symptoms = {symptom.cause: symptom for symptom in look.symptoms if symptom.cause in look.judged}
    hidden = hidden_by(symptoms)
    changes: list[Change] = []
    for cause, evidence in look.judged.items():
        if cause in hidden:
            continue
        incident, symptom = known.get(cause), symptoms.get(cause)
        if symptom is not None:
            changes += _bad(incident, symptom, evidence, rules, now)
        elif incident is not None:
            changes += _good(incident, evidence, look.why_over.get(cause, ""), rules, now)
    return changes


def _bad(incident: Incident | None, symptom: Symptom, evidence: str, rules: Rules, now: datetime) -> Iterable[Change]:
    if incident is None or _is_over(incident, rules, now):
        severity = symptom.how_grave
        incident = Incident(symptom.cause, severity, State.SUSPECTED, now, now, now, evidence=evidence, bad_looks=1)
    elif not _same_look(incident, evidence, rules, now):
        looks = incident.bad_looks + 1
        incident = replace(incident, looked_at=now, evidence=evidence, bad_looks=looks, good_looks=0)
    elif incident.state is State.RESOLVED:  # a person resolved it, and nothing has been seen since
        return []
    before = incident.severity
    incident = replace(
        incident,
        severity=symptom.how_grave,
        last_seen_at=now,
        count=symptom.count,
        worst_count=max(symptom.count, incident.worst_count),
        campaigns=symptom.campaigns[:SAMPLE],
        tenants=symptom.tenants,
        detail=symptom.detail,
    )
    if incident.state in UNRESOLVED:
        return [_still_bad(incident, before, rules, now)]
    if not _opens(incident, symptom, rules, now):
        return [Change(incident)]
    what = What.OPENED if incident.state is State.SUSPECTED else What.REOPENED
    opened = replace(incident, state=State.OPEN, opened_at=incident.opened_at or now, resolved_at=None)
    silent = _is_silent(opened, now)
    opened = replace(opened, state=State.SILENCED) if silent else replace(opened, silenced_until=None)
    if silent and not _worse(opened, rules):
        return [Change(opened, what)]
    return [Change(_as_notified(opened, now), what, notified=True)]


def _opens(incident: Incident, symptom: Symptom, rules: Rules, now: datetime) -> bool:
    """Return whether the bad looks are enough. An incident that was open a short while ago need not last again."""
    fixed = CAUSES[incident.cause]
    if incident.bad_looks < (fixed.looks or rules.looks_to_open):
        return False
    lasting = fixed.lasting_seconds if symptom.lasting_seconds is None else symptom.lasting_seconds
    return incident.state is State.RESOLVED or now - incident.first_seen_at >= timedelta(seconds=lasting)


def _still_bad(incident: Incident, before: Severity, rules: Rules, now: datetime) -> Change:
    silence_ended = incident.silenced_until is not None and not _is_silent(incident, now)
    if silence_ended:
        incident = replace(incident, state=State.OPEN, silenced_until=None)
    if _worse(incident, rules):
        return Change(_as_notified(incident, now), What.WORSENED, notified=True)
    since_notified = now - incident.notified_at if incident.notified_at is not None else timedelta.max
    due = since_notified >= timedelta(seconds=rules.repeat_seconds)
    if incident.state is State.OPEN and (silence_ended or due):
        return Change(_as_notified(incident, now), What.REPEATED, notified=True)
    return Change(incident, What.EASED if incident.severity.rank < before.rank else None)


def _worse(incident: Incident, rules: Rules) -> bool:
    """Return whether it is graver than in the last notification."""
    graver = incident.notified_severity is not None and incident.severity.rank > incident.notified_severity.rank
    return graver or (incident.notified_count > 0 and incident.count >= rules.worse_factor * incident.notified_count)


def _good(incident: Incident, evidence: str, why_over: str, rules: Rules, now: datetime) -> Iterable[Change]:
    if incident.state is State.SUSPECTED:
        return [Change(incident, discarded=True)]
    if incident.state is State.RESOLVED:
        return [Change(replace(incident, bad_looks=0))] if incident.bad_looks else []
    if _same_look(incident, evidence, rules, now):
        return []
    looks = incident.good_looks + 1
    incident = replace(incident, looked_at=now, evidence=evidence, bad_looks=0, good_looks=looks)
    if looks < rules.looks_to_resolve:
        return [Change(incident)]
    silent = _is_silent(incident, now)
    over = replace(resolved(incident, now), silenced_until=incident.silenced_until if silent else None)
    return [Change(over, What.RESOLVED, notified=not silent, why=why_over)]


def resolved(incident: Incident, now: datetime) -> Incident:
    """The incident, over."""
    return replace(incident, state=State.RESOLVED, resolved_at=now, bad_looks=0, good_looks=0, silenced_until=None)


def _is_silent(incident: Incident, now: datetime) -> bool:
    """Return whether a person's silence holds. It outlasts the incident's end: what comes back is silent, too."""
    return incident.silenced_until is not None and incident.silenced_until > now


def _as_notified(incident: Incident, now: datetime) -> Incident:
    return replace(incident, notified_at=now, notified_count=incident.count, notified_severity=incident.severity)


def _is_over(incident: Incident, rules: Rules, now: datetime) -> bool:
    """Return whether it ended too long ago to be reopened."""
    ended = incident.looked_at if incident.bad_looks else incident.resolved_at
    if incident.state is not State.RESOLVED or ended is None:
        return False
    return now - ended > timedelta(seconds=rules.reopen_seconds)


def _same_look(incident: Incident, evidence: str, rules: Rules, now: datetime) -> bool:
    if evidence:
        return evidence == incident.evidence
    return not incident.evidence and now - incident.looked_at < timedelta(seconds=rules.same_look_seconds)


def unwatched(last_look: datetime | None, now: datetime) -> str:
    """Say that nothing keeps a platform's incidents up to date; empty text where a watcher does."""
    age = None if last_look is None else int((now - last_look).total_seconds())
    if age is not None and age <= UNWATCHED_SECONDS:
        return ""
    what = "no watcher has looked yet" if age is None else f"the last look of a watcher is {duration(age)} old"
    return f"{what}: is `campaign-ops watch` or Dagster's sensor `incidents` running?"


def loudest_severity(incident: Incident) -> Severity:
    """The gravest severity that was notified: the channels that got an incident also get its end."""
    return max(incident.severity, incident.notified_severity or incident.severity, key=lambda severity: severity.rank)
