"""When a cause becomes an incident, when that is over, and which changes are told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from campaign_ops.core.causes import CAUSES, FOLLOWS, Cause, Severity
from campaign_ops.core.incidents import (
    SAMPLE,
    Change,
    Incident,
    Look,
    Rules,
    State,
    Symptom,
    What,
    judge,
    resolved,
)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
STUCK = Symptom(Cause.STUCK, count=3, campaigns=("c1", "c2", "c3"), detail="c1: lost")
RULES = Rules()
AT_ONCE = (Cause.BREAKER, Cause.SWEEP_STALE, Cause.QUEUE_EMPTIED)


@dataclass
class Memory:
    """What is remembered of one platform, looked at every minute."""

    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)
    known: dict[Cause, Incident] = field(default_factory=dict)
    rules: Rules = RULES

    def look(
        self, *symptoms: Symptom, also: tuple[Cause, ...] = (), evidence: str = "", after: timedelta = MINUTE
    ) -> list[Change]:
        """One look that judges the causes of its symptoms, and others that are well; the changes with an event."""
        self.now += after
        causes = dict.fromkeys((*(symptom.cause for symptom in symptoms), *also), evidence)
        changes = judge(self.known, Look(symptoms, causes), self.rules, self.now)
        for change in changes:
            if change.discarded:
                del self.known[change.incident.cause]
            else:
                self.known[change.incident.cause] = replace(change.incident, id=1)
        return [change for change in changes if change.what is not None]

    def good(self, cause: Cause = Cause.STUCK, **more: object) -> list[Change]:
        return self.look(also=(cause,), **more)  # type: ignore[arg-type]

    def opened(self, symptom: Symptom = STUCK) -> Incident:
        """The incident, open."""
        self.look(symptom)
        (change,) = self.look(symptom)
        assert (change.what, change.notified) == (What.OPENED, True)
        return self.known[symptom.cause]

    def resolved(self, cause: Cause = Cause.STUCK) -> Change:
        """The change that three good looks make."""
        assert self.good(cause) == []
        assert self.good(cause) == []
        (change,) = self.good(cause)
        return change

    def set(self, cause: Cause = Cause.STUCK, **changes: object) -> None:
        self.known[cause] = replace(self.known[cause], **changes)  # type: ignore[arg-type]


@pytest.fixture
def memory() -> Memory:
    return Memory()


def whats(changes: list[Change]) -> list[What | None]:
    return [change.what for change in changes]


def test_one_bad_look_is_a_suspicion_and_the_second_an_incident(memory: Memory) -> None:
    assert memory.look(STUCK) == []
    assert memory.known[Cause.STUCK].state is State.SUSPECTED
    (change,) = memory.look(STUCK)
    assert (change.what, change.notified, change.incident.state) == (What.OPENED, True, State.OPEN)
    assert change.incident.first_seen_at == memory.now - MINUTE
    assert change.incident.opened_at == memory.now


def test_a_suspicion_is_forgotten_at_the_first_good_look(memory: Memory) -> None:
    memory.look(STUCK)
    assert memory.good() == []
    assert memory.known == {}
    assert memory.look(STUCK) == []


@pytest.mark.parametrize("cause", AT_ONCE)
def test_where_waiting_harms_the_first_bad_look_opens(memory: Memory, cause: Cause) -> None:
    assert whats(memory.look(Symptom(cause))) == [What.OPENED]


def test_no_other_cause_opens_at_the_first_look(memory: Memory) -> None:
    for cause in set(Cause) - set(AT_ONCE):
        assert Memory().look(Symptom(cause, count=1)) == [], cause


def test_a_pause_of_a_deployment_is_no_incident_and_a_long_one_is(memory: Memory) -> None:
    paused = Symptom(Cause.QUEUE_PAUSED, count=1)
    for _ in range(30):
        assert memory.look(paused) == []
    assert whats(memory.look(paused)) == [What.OPENED]


def test_a_symptom_may_say_itself_how_long_it_must_last(memory: Memory) -> None:
    never_swept = Symptom(Cause.SWEEP_STALE, lasting_seconds=1800)
    assert memory.look(never_swept) == []
    assert memory.look(never_swept, after=29 * MINUTE) == []
    assert whats(memory.look(never_swept)) == [What.OPENED]


def test_three_good_looks_resolve_and_one_bad_between_begins_the_count_again(memory: Memory) -> None:
    memory.opened()
    memory.good()
    memory.good()
    memory.look(STUCK)
    change = memory.resolved()
    assert (change.what, change.notified) == (What.RESOLVED, True)
    assert (change.incident.state, change.incident.resolved_at) == (State.RESOLVED, memory.now)


def test_a_cause_that_could_not_be_judged_stays_as_it_was(memory: Memory) -> None:
    before = memory.opened()
    memory.good()
    after_one_good = memory.known[Cause.STUCK]
    for _ in range(5):
        assert memory.look(also=(Cause.BREAKER,)) == []
    assert memory.known[Cause.STUCK] == after_one_good
    assert after_one_good.state is before.state


def test_a_second_look_at_the_same_sweep_is_no_second_look(memory: Memory) -> None:
    assert memory.look(STUCK, evidence="sweep 7") == []
    for _ in range(9):
        assert memory.look(STUCK, evidence="sweep 7") == []
    assert whats(memory.look(STUCK, evidence="sweep 8")) == [What.OPENED]
    for _ in range(9):
        assert memory.good(evidence="sweep 9") == []
    assert memory.good(evidence="sweep 10") == []
    assert whats(memory.good(evidence="sweep 11")) == [What.RESOLVED]


def test_a_look_at_this_moment_is_another_than_one_at_a_sweep(memory: Memory) -> None:
    assert memory.look(STUCK, evidence="sweep 7") == []
    assert whats(memory.look(STUCK, after=timedelta(seconds=1))) == [What.OPENED]


def test_looks_twenty_seconds_apart_are_two(memory: Memory) -> None:
    assert memory.look(STUCK) == []
    assert memory.look(STUCK, after=timedelta(seconds=19.9)) == []
    assert whats(memory.look(STUCK, after=timedelta(seconds=20))) == [What.OPENED]


def test_two_watchers_that_look_at_once_have_looked_once(memory: Memory) -> None:
    away = Symptom(Cause.QUEUE_UNREADABLE)
    assert memory.look(away) == []
    assert memory.look(away, after=timedelta(seconds=1)) == []
    assert whats(memory.look(away)) == [What.OPENED]
    memory.good(Cause.QUEUE_UNREADABLE)
    for _ in range(5):
        assert memory.good(Cause.QUEUE_UNREADABLE, after=timedelta(seconds=1)) == []


def test_what_comes_back_within_the_hour_is_the_same_incident(memory: Memory) -> None:
    before = memory.opened()
    memory.resolved()
    assert memory.look(STUCK, after=59 * MINUTE) == []
    (change,) = memory.look(STUCK, after=2 * MINUTE)
    assert (change.what, change.notified, change.incident.resolved_at) == (What.REOPENED, True, None)
    assert (change.incident.id, change.incident.first_seen_at) == (1, before.first_seen_at)


def test_an_hour_after_the_end_to_the_second_it_is_the_same_incident(memory: Memory) -> None:
    before = memory.opened()
    memory.resolved()
    memory.look(STUCK, after=HOUR)
    assert memory.known[Cause.STUCK].first_seen_at == before.first_seen_at


def test_what_comes_back_later_is_a_new_incident(memory: Memory) -> None:
    before = memory.opened()
    memory.resolved()
    assert memory.look(STUCK, after=61 * MINUTE) == []
    suspected = memory.known[Cause.STUCK]
    assert suspected.state is State.SUSPECTED
    assert suspected.first_seen_at > before.first_seen_at


def test_a_single_bad_look_after_the_end_is_forgotten(memory: Memory) -> None:
    memory.opened()
    memory.resolved()
    assert memory.look(STUCK) == []
    assert memory.good() == []
    assert memory.look(STUCK) == []
    assert memory.known[Cause.STUCK].state is State.RESOLVED


def test_an_open_incident_is_repeated_every_four_hours(memory: Memory) -> None:
    memory.opened()
    told = [change for _ in range(60 * 12) for change in memory.look(STUCK)]
    assert whats(told) == [What.REPEATED] * 3
    assert all(change.notified for change in told)


@pytest.mark.parametrize("state", [State.ACKNOWLEDGED, State.SILENCED])
def test_what_a_person_has_taken_on_or_silenced_is_quiet(memory: Memory, state: State) -> None:
    memory.opened()
    memory.set(state=state, silenced_until=memory.now + 24 * HOUR if state is State.SILENCED else None)
    assert [change for _ in range(23) for change in memory.look(STUCK, after=HOUR)] == []


@pytest.mark.parametrize("state", [State.OPEN, State.ACKNOWLEDGED, State.SILENCED])
def test_worse_speaks_whatever_a_person_said(memory: Memory, state: State) -> None:
    memory.opened()
    memory.set(state=state, silenced_until=memory.now + 24 * HOUR if state is State.SILENCED else None)
    assert memory.look(replace(STUCK, count=29)) == []
    (change,) = memory.look(replace(STUCK, count=30))
    assert (change.what, change.notified, change.incident.state) == (What.WORSENED, True, state)
    assert memory.look(replace(STUCK, count=299)) == []
    assert whats(memory.look(replace(STUCK, count=300))) == [What.WORSENED]


def test_the_worst_count_is_kept_and_the_counts_of_looks_begin_again(memory: Memory) -> None:
    memory.opened(replace(STUCK, count=1))
    memory.look(replace(STUCK, count=5))
    memory.look(replace(STUCK, count=2))
    incident = memory.known[Cause.STUCK]
    assert (incident.count, incident.worst_count, incident.bad_looks, incident.good_looks) == (2, 5, 4, 0)
    assert whats(memory.look(replace(STUCK, count=10))) == [What.WORSENED], "ten times one"
    memory.good()
    assert (memory.known[Cause.STUCK].bad_looks, memory.known[Cause.STUCK].good_looks) == (0, 1)
    over = resolved(memory.known[Cause.STUCK], memory.now)
    assert (over.bad_looks, over.good_looks, over.resolved_at) == (0, 0, memory.now)


def test_what_counts_nothing_grows_no_worse(memory: Memory) -> None:
    away = Symptom(Cause.DATABASE_AWAY)
    memory.opened(away)
    assert memory.look(away) == []


def test_a_graver_severity_is_worse_and_a_milder_one_is_noted_quietly(memory: Memory) -> None:
    memory.opened()
    (worse,) = memory.look(replace(STUCK, severity=Severity.CRITICAL))
    assert (worse.what, worse.notified) == (What.WORSENED, True)
    (eased,) = memory.look(STUCK)
    assert (eased.what, eased.notified) == (What.EASED, False)
    assert memory.look(replace(STUCK, severity=Severity.CRITICAL)) == [], "people were told so already"


def test_a_silence_that_ends_while_it_is_still_bad_speaks(memory: Memory) -> None:
    memory.opened()
    memory.set(state=State.SILENCED, silenced_until=memory.now + HOUR)
    assert memory.look(STUCK, after=59 * MINUTE) == []
    (change,) = memory.look(STUCK, after=2 * MINUTE)
    assert (change.what, change.notified, change.incident.state) == (What.REPEATED, True, State.OPEN)


def test_a_silence_outlasts_an_end_and_a_return_within_the_hour(memory: Memory) -> None:
    """Workers that restart in a deployment: each return spoke, hours before the silence was over."""
    memory.opened()
    memory.set(state=State.SILENCED, silenced_until=memory.now + HOUR)
    assert not memory.resolved().notified
    memory.look(STUCK)
    (back,) = memory.look(STUCK)
    assert (back.what, back.notified, back.incident.state) == (What.REOPENED, False, State.SILENCED)
    (worse,) = memory.look(replace(STUCK, count=30))
    assert (worse.what, worse.notified) == (What.WORSENED, True)
    (ended,) = memory.look(STUCK, after=HOUR)
    assert (ended.what, ended.notified, ended.incident.state) == (What.REPEATED, True, State.OPEN)


def test_a_silence_that_ends_when_it_gets_worse_speaks_once(memory: Memory) -> None:
    memory.opened()
    memory.set(state=State.SILENCED, silenced_until=memory.now + MINUTE)
    (change,) = memory.look(replace(STUCK, count=30))
    assert (change.what, change.incident.state) == (What.WORSENED, State.OPEN)
    assert memory.look(replace(STUCK, count=30)) == []


def test_a_silence_ends_at_its_very_moment(memory: Memory) -> None:
    memory.opened()
    memory.set(state=State.SILENCED, silenced_until=memory.now + MINUTE)
    assert whats(memory.look(STUCK)) == [What.REPEATED]
    memory.set(state=State.SILENCED, silenced_until=memory.now + 3 * MINUTE)
    assert memory.resolved().notified


def test_the_end_of_an_acknowledged_incident_is_told_and_of_a_silenced_one_not(memory: Memory) -> None:
    memory.opened()
    memory.set(state=State.ACKNOWLEDGED)
    assert memory.resolved().notified
    silent = Memory()
    silent.opened()
    silent.set(state=State.SILENCED, silenced_until=silent.now + HOUR)
    assert not silent.resolved().notified
    heard = Memory()
    heard.opened()
    heard.set(state=State.SILENCED, silenced_until=heard.now + MINUTE)
    assert heard.resolved().notified, "the silence was over"


def test_what_a_person_resolved_opens_again_only_by_new_looks(memory: Memory) -> None:
    memory.look(STUCK, evidence="sweep 1")
    memory.look(STUCK, evidence="sweep 2")
    memory.known[Cause.STUCK] = resolved(memory.known[Cause.STUCK], memory.now)
    for _ in range(5):
        assert memory.look(STUCK, evidence="sweep 2") == []
    assert memory.look(STUCK, evidence="sweep 3") == []
    assert whats(memory.look(STUCK, evidence="sweep 4")) == [What.REOPENED]


def test_three_hundred_stuck_campaigns_and_one_outage_are_one_incident(memory: Memory) -> None:
    ids = tuple(f"c{number}" for number in range(300))
    away = Symptom(Cause.QUEUE_UNREADABLE, count=300, campaigns=ids)
    others = [Symptom(cause, count=300) for cause in FOLLOWS[Cause.QUEUE_UNREADABLE]]
    for _ in range(10):
        memory.look(away, *others)
    assert list(memory.known) == [Cause.QUEUE_UNREADABLE]
    assert memory.known[Cause.QUEUE_UNREADABLE].campaigns == ids[:SAMPLE]


@pytest.mark.parametrize("root", list(FOLLOWS))
def test_what_follows_from_a_cause_is_neither_opened_nor_resolved_while_it_holds(memory: Memory, root: Cause) -> None:
    followers = sorted(FOLLOWS[root])
    kept = followers[0]
    memory.look(Symptom(kept, count=1))
    memory.look(Symptom(kept, count=1), after=HOUR)
    before = memory.known[kept]
    for _ in range(5):
        memory.look(Symptom(root, count=1), also=tuple(followers))
        memory.look(Symptom(root, count=1), *(Symptom(cause, count=1) for cause in followers if cause is not kept))
    assert memory.known[kept] == before
    assert set(memory.known) == {root, kept}


def test_a_cause_that_was_not_judged_hides_nothing(memory: Memory) -> None:
    look = Look((Symptom(Cause.DATABASE_AWAY), STUCK), {Cause.STUCK: ""})
    assert [change.incident.cause for change in judge({}, look, RULES, memory.now)] == [Cause.STUCK]


def test_no_cause_hides_itself_and_of_two_causes_one_is_the_root() -> None:
    for root, followers in FOLLOWS.items():
        assert root not in followers
        for follower in followers:
            assert root not in FOLLOWS.get(follower, ())


def test_every_cause_has_words_and_a_next_step() -> None:
    assert set(CAUSES) == set(Cause)
    for fixed in CAUSES.values():
        assert fixed.words
        assert fixed.next_step.format(platform="sms")


def test_of_two_looks_the_later_one_counts_where_both_judged() -> None:
    sweep = Look((STUCK, Symptom(Cause.BACKLOG, count=9)), {Cause.STUCK: "sweep 1", Cause.BACKLOG: "sweep 1"})
    now = Look((), {Cause.BACKLOG: ""})
    assert sweep | now == Look((STUCK,), {Cause.STUCK: "sweep 1", Cause.BACKLOG: ""})
