"""The causes that need a person: how grave each is, when it opens an incident, and the operator's next step.

To add a cause, add a word here and its line in `CAUSES`; the page docs/incidents.md is made from them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from campaign_ops.core.wording import counted


class Severity(StrEnum):
    """The urgency with which a person should look, the mildest first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """For comparing: a higher rank is graver."""
        return list(Severity).index(self)


class Cause(StrEnum):
    """The reasons why a person is needed. A platform has at most one unresolved incident of each."""

    CONFIGURATION_BROKEN = "configuration_broken"
    DATABASE_AWAY = "database_away"
    DAEMON_DEAD = "daemon_dead"
    RUN_FAILED = "run_failed"
    SWEEP_STALE = "sweep_stale"
    QUEUE_UNREADABLE = "queue_unreadable"
    QUEUE_EMPTIED = "queue_emptied"
    QUEUE_PAUSED = "queue_paused"
    NO_WORKERS = "no_workers"
    WORKERS_RESTARTING = "workers_restarting"
    BACKLOG = "backlog"
    BREAKER = "breaker"
    STUCK = "stuck"
    QUARANTINED = "quarantined"
    AMBIGUOUS = "ambiguous"
    UNKNOWN_WORD = "unknown_word"
    CREDITS_LEAKED = "credits_leaked"


@dataclass(frozen=True, slots=True)
class CauseDoc:
    """The fixed properties of a cause.

    Attributes:
        words: The cause as a person says it.
        severity: Its severity, unless the symptom overrides it.
        next_step: The operator's next step, one line; ``{platform}`` stands for the platform's name.
        noun: The unit of its count; empty where a count means nothing.
        looks: Bad looks in a row that open an incident; None for the usual number.
        lasting_seconds: The time for which the bad looks must have lasted.
    """

    words: str
    severity: Severity
    next_step: str
    noun: str = ""
    looks: int | None = None
    lasting_seconds: int = 0

    def headline(self, count: int) -> str:
        """The cause and its count in words."""
        return f"{self.words} ({counted(count, self.noun)})" if count and self.noun else self.words


_WARNING, _CRITICAL = Severity.WARNING, Severity.CRITICAL
_AT_ONCE = 1

CAUSES: Mapping[Cause, CauseDoc] = {
    Cause.CONFIGURATION_BROKEN: CauseDoc(
        "the configuration is broken",
        _CRITICAL,
        "`campaign-ops config --platform {platform}` and `campaign-ops doctor --platform {platform}` name each mistake",
    ),
    Cause.DATABASE_AWAY: CauseDoc(
        "the database is away",
        _CRITICAL,
        "check PostgreSQL and the network to it; `campaign-ops doctor --platform {platform}` says how it fails",
    ),
    Cause.DAEMON_DEAD: CauseDoc(
        "Dagster's daemon is dead",
        _CRITICAL,
        "start `dagster-daemon run` again; until then sweep by hand: `campaign-ops reconcile --platform {platform}`",
    ),
    Cause.RUN_FAILED: CauseDoc(
        "runs of Dagster fail",
        _WARNING,
        "read the failed run's message in Dagster; `campaign-ops reconcile --platform {platform}` shows the same error",
        "run",
    ),
    Cause.SWEEP_STALE: CauseDoc(
        "no sweep has finished for too long",
        _CRITICAL,
        "`campaign-ops reconcile --platform {platform}` sweeps now and shows what fails; then check the schedule",
        looks=_AT_ONCE,
    ),
    Cause.QUEUE_UNREADABLE: CauseDoc(
        "the queue cannot be read",
        _CRITICAL,
        "check Redis and the network to it; `campaign-ops doctor --platform {platform}` says what cannot be read",
        "campaign",
    ),
    Cause.QUEUE_EMPTIED: CauseDoc(
        "the queue was emptied or replaced",
        _CRITICAL,
        "compare the queue with what you expect; `campaign-ops plan --platform {platform}` prints the command that"
        " confirms it",
        "campaign",
        looks=_AT_ONCE,
    ),
    # Deployments pause queues and stop workers for minutes: that is no incident.
    Cause.QUEUE_PAUSED: CauseDoc(
        "the queue has been paused for long",
        _WARNING,
        "resume the queue in the application; `campaign-ops status --platform {platform}` shows what waits",
        "campaign",
        lasting_seconds=1800,
    ),
    Cause.NO_WORKERS: CauseDoc(
        "jobs wait and no worker is connected",
        _CRITICAL,
        "start the application's workers; `campaign-ops workers --platform {platform}` shows the last ones seen",
        "job",
        lasting_seconds=300,
    ),
    Cause.WORKERS_RESTARTING: CauseDoc(
        "workers restart again and again",
        _WARNING,
        "read the workers' logs: they crash, or lose Redis; `campaign-ops workers --platform {platform}` lists them",
        "restart",
    ),
    Cause.BACKLOG: CauseDoc(
        "too many jobs wait in the queue",
        _WARNING,
        "add workers, or stop what fills the queue; `campaign-ops status --platform {platform}` shows the progress",
        "job",
        lasting_seconds=300,
    ),
    Cause.BREAKER: CauseDoc(
        "a breaker holds repairs back",
        _CRITICAL,
        "`campaign-ops plan --platform {platform}` shows them and prints the command that confirms them",
        "repair",
        looks=_AT_ONCE,
    ),
    Cause.STUCK: CauseDoc(
        "campaigns are stuck for too long",
        _WARNING,
        "`campaign-ops status --platform {platform}` says why for each",
        "campaign",
    ),
    Cause.QUARANTINED: CauseDoc(
        "campaigns were given up",
        _WARNING,
        "find out why their jobs fail, then `campaign-ops retry-quarantined ID --platform {platform} --reason WHY`",
        "campaign",
    ),
    Cause.AMBIGUOUS: CauseDoc(
        "the provider may already have some recipients",
        _WARNING,
        "ask the provider; then `campaign-ops send-again ID --platform {platform} --reason WHY`, or `take-as-sent`",
        "campaign",
    ),
    Cause.UNKNOWN_WORD: CauseDoc(
        "the platform uses status words that its profile does not know",
        _WARNING,
        "`campaign-ops doctor --platform {platform}` names them; add them to the profile's `words`",
        "campaign",
    ),
    Cause.CREDITS_LEAKED: CauseDoc(
        "leaked credits cannot be released",
        _WARNING,
        "`campaign-ops plan --platform {platform}` says why for each reservation",
        "reservation",
    ),
}

OF_THE_QUEUE = frozenset(
    {
        Cause.QUEUE_UNREADABLE,
        Cause.QUEUE_EMPTIED,
        Cause.QUEUE_PAUSED,
        Cause.NO_WORKERS,
        Cause.WORKERS_RESTARTING,
        Cause.BACKLOG,
    }
)
"""The causes of a platform with a queue alone."""

FOLLOWS: Mapping[Cause, frozenset[Cause]] = {
    Cause.CONFIGURATION_BROKEN: frozenset(Cause) - {Cause.CONFIGURATION_BROKEN},
    Cause.DATABASE_AWAY: frozenset(Cause) - {Cause.CONFIGURATION_BROKEN, Cause.DATABASE_AWAY, Cause.DAEMON_DEAD},
    Cause.DAEMON_DEAD: frozenset({Cause.SWEEP_STALE}),
    # Unknown words and leaked credits are found without the queue.
    Cause.QUEUE_UNREADABLE: OF_THE_QUEUE - {Cause.QUEUE_UNREADABLE}
    | {Cause.BREAKER, Cause.STUCK, Cause.QUARANTINED, Cause.AMBIGUOUS},
    Cause.QUEUE_PAUSED: frozenset({Cause.NO_WORKERS, Cause.BACKLOG}),
    Cause.NO_WORKERS: frozenset({Cause.WORKERS_RESTARTING, Cause.BACKLOG}),
}
"""The causes that cannot be judged while another one holds: they follow from it, or cannot be seen.

A stale sweep says no less than it did; its causes stay as they are, because no newer sweep judges them.
"""


def hidden_by(causes: Iterable[Cause]) -> frozenset[Cause]:
    """The causes that cannot be judged while these hold."""
    return frozenset[Cause]().union(*(FOLLOWS.get(cause, frozenset()) for cause in causes))
