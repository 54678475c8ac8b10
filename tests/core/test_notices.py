"""The text of a notification: what it names to which channel, and how several become one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from campaign_ops.core.causes import Cause, Severity
from campaign_ops.core.incidents import Incident, State, What
from campaign_ops.core.notices import Message, folded, message, one_line, portions
from tests.evidence import NOW

STUCK = Incident(
    Cause.STUCK,
    Severity.WARNING,
    State.OPEN,
    NOW,
    NOW,
    NOW,
    id=7,
    count=3,
    campaigns=("c1", "c2", "c3"),
    tenants=("north",),
    detail="c1: jobs lost",
)


def lines(incident: Incident, what: What = What.OPENED, **more: object) -> dict[str, str]:
    """The lines of a message, by their first word."""
    body = message("sms", incident, what, **more).body  # type: ignore[arg-type]
    return {line.partition(" ")[0]: line for line in body.splitlines()}


def test_an_incident_is_told_with_its_count_evidence_campaigns_and_the_next_step() -> None:
    told = message("sms", STUCK, What.OPENED, link="https://ops.example.com")
    assert (told.severity, told.over) == (Severity.WARNING, False)
    assert told.subject == "[warning] sms: campaigns are stuck for too long (3 campaigns)"
    assert told.body.splitlines() == [
        "Platform sms: campaigns are stuck for too long (3 campaigns).",
        "Since 2026-03-01 12:00 UTC.",
        "Evidence: c1: jobs lost",
        "Campaigns: c1, c2, c3",
        "Next step: campaign-ops status --platform sms says why for each",
        "Acknowledge: campaign-ops acknowledge 7 --platform sms --reason WHY",
        "Incident 7, https://ops.example.com",
    ]


def test_the_end_says_who_and_since_when_and_asks_for_nothing() -> None:
    ended = replace(STUCK, resolved_at=NOW + timedelta(hours=1))
    told = message("sms", ended, What.RESOLVED, by="ann: fixed")
    assert told.over
    assert told.subject == "[warning] sms: resolved: campaigns are stuck for too long"
    assert told.body.splitlines() == [
        "Platform sms: campaigns are stuck for too long.",
        "Since 2026-03-01 12:00 UTC, over at 2026-03-01 13:00 UTC.",
        "Resolved by ann: fixed.",
        "It was: c1: jobs lost",
        "Incident 7",
    ]


def test_what_an_incident_does_not_have_has_no_line() -> None:
    told = lines(replace(STUCK, id=None, detail="", campaigns=()))
    assert set(told) == {"Platform", "Since", "Next", "Not"}
    assert told["Not"] == "Not recorded: the database cannot be written"


@pytest.mark.parametrize(
    ("channel", "owners", "named"),
    [
        ((), ("north",), True),
        ((), (), True),
        (("north",), ("north",), True),
        (("north", "south"), ("north",), True),
        (("north",), ("north", "south"), False),
        (("north",), (), False),
    ],
)
def test_a_channel_of_tenants_hears_of_their_campaigns_alone(
    channel: tuple[str, ...], owners: tuple[str, ...], named: bool
) -> None:
    told = lines(replace(STUCK, tenants=owners), tenants=channel)
    assert {"Campaigns:", "Evidence:"} <= told.keys() if named else not {"Campaigns:", "Evidence:"} & told.keys()
    assert ("(3 campaigns)" in told["Platform"]) is named


@pytest.mark.parametrize(
    ("cause", "count", "kept", "end"),
    [
        (Cause.STUCK, 10, 10, "c9"),
        (Cause.STUCK, 3000, 20, "c9 and 2,990 more"),
        (Cause.STUCK, 2, 12, "c9 and 2 more"),
        (Cause.BACKLOG, 5000, 12, "c9 and 2 more"),  # counts jobs
    ],
)
def test_ten_campaigns_are_named_and_the_others_counted(cause: Cause, count: int, kept: int, end: str) -> None:
    campaigns = tuple(f"c{number}" for number in range(kept))
    listed = lines(replace(STUCK, cause=cause, count=count, campaigns=campaigns))["Campaigns:"]
    assert listed.startswith("Campaigns: c0, c1, ")
    assert listed.endswith(f", {end}")


def test_a_channel_that_heard_the_gravest_hears_all_of_it() -> None:
    eased = replace(STUCK, notified_severity=Severity.CRITICAL)
    assert message("sms", eased, What.REPEATED).severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("free", "sizes"), [(-1, []), (0, []), (1, [5]), (2, [1, 4]), (4, [1, 1, 1, 2]), (5, [1] * 5), (9, [1] * 5)]
)
def test_what_is_due_fits_into_the_messages_that_are_free(free: int, sizes: list[int]) -> None:
    parts = portions("abcde", free)
    assert [len(part) for part in parts] == sizes
    assert "".join("".join(part) for part in parts) == ("abcde" if sizes else "")


def test_several_messages_become_one_the_gravest_first() -> None:
    mild, grave = Message("mild", "", Severity.INFO, over=True), Message("grave", "", Severity.CRITICAL)
    together = folded("mail", [mild, grave, mild])
    assert (together.severity, together.over) == (Severity.CRITICAL, False)
    assert together.subject == "[critical] 3 changes of incidents"
    assert together.body.splitlines()[1:] == ["- grave", "- mild", "- mild"]
    assert folded("mail", [mild, mild]).over


@pytest.mark.parametrize(("number", "listed", "more"), [(50, 50, ""), (51, 50, "and 1 more")])
def test_fifty_subjects_are_listed(number: int, listed: int, more: str) -> None:
    text = folded("mail", [Message("m", "", Severity.INFO)] * number).body
    assert text.count("\n- m") == listed
    assert (more in text) if more else text.endswith("- m")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\x1b[1m", "two lines [1m"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "…"),
    ],
)
def test_other_people_s_text_is_one_line_that_fits(text: str, line: str) -> None:
    assert one_line(text) == line
