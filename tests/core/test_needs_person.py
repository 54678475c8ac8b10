"""What needs a person, each with the next step: in the report, and short enough to be shown in its place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.confirmation import Offer
from campaign_ops.core.console import Console
from campaign_ops.core.model import RepairKind, Verdict
from campaign_ops.core.needs_person import INLINE, needs_person_now, people
from campaign_ops.core.next_steps import STEPS, next_step, step_of
from campaign_ops.core.report import RepairLine, headline, render
from campaign_ops.core.wording import SHOWN
from campaign_ops.faces.cli.commands import COMMANDS
from tests.core.test_report import NASTY, PARSER, a_report, line, report_with, section, shape
from tests.evidence import NOW, QUEUE

CONSOLE = Console("https://ops.example.com/")


# -- next steps -----------------------------------------------------------------------------------------------------


def test_every_verdict_has_a_next_step_whose_commands_exist() -> None:
    assert set(STEPS) == set(Verdict)
    for step in STEPS.values():
        for words in step.split("campaign-ops ")[1:]:
            assert words.split()[0] in COMMANDS, words


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (line("c1", Verdict.QUARANTINED), "`campaign-ops retry-quarantined c1 --platform sms --reason WHY`"),
        (line("c1", Verdict.FINISHED, reason="done; held by ann: not yet"), "retry-quarantined c1 "),
        (line("c1", Verdict.FINISHED, reason="refused 3 times, tried again in a day: no"), "what the database refuses"),
        (line("c1", Verdict.JOBS_LOST, marked=2), "`campaign-ops send-again c1 "),
        (line("c1", Verdict.JOBS_LOST, reason="id 'x' cannot be written"), "set `id_type` in the profile"),
        (line("res_1", None), "`campaign-ops release res_1 --platform sms --reason WHY`"),
    ],
)
def test_the_next_step_follows_from_what_no_sweep_can_mend(item: object, words: str) -> None:
    assert words in next_step(item, "sms")  # type: ignore[arg-type]


def test_an_id_cannot_add_a_command_to_the_one_that_is_copied() -> None:
    assert "send-again 'c1; rm -rf ~' --platform" in step_of(Verdict.AMBIGUOUS, "sms", "c1; rm -rf ~")


# -- counted apart --------------------------------------------------------------------------------------------------


def test_campaigns_and_their_reservations_are_counted_apart() -> None:
    """Measured before: one stuck campaign with 40 late reservations was reported as "41 need a person"."""
    late = [line(f"res_{number}", None, needs_person=True) for number in range(40)]
    report = a_report(line("c1", Verdict.EMPTY, needs_person=True), *late)
    figures = report.figures()
    assert (figures["needs_person"], figures["reservations_need_person"]) == (1, 40)
    assert headline(report) == "1 stuck of 20 sending, 1 campaign and 40 reservations need a person"
    assert people(0, 1) == "1 reservation needs a person"


# -- the short form -------------------------------------------------------------------------------------------------


def test_a_quiet_platform_has_one_line() -> None:
    assert needs_person_now(a_report()) == "Nothing needs a person."


def test_three_hundred_campaigns_and_one_outage_are_one_line_with_the_next_step() -> None:
    items = [line(f"c{number}", Verdict.QUEUE_UNREADABLE, needs_person=True) for number in range(300)]
    text = needs_person_now(a_report(*items))
    step = CAUSES[Cause.QUEUE_UNREADABLE].next_step.format(platform="sms")
    assert text.splitlines() == [
        "**300 campaigns need a person**",
        "",
        f"- queue_unreadable: c0, c1, c2 and 297 more; next: {step}",
    ]


def test_what_kept_the_sweep_from_its_work_comes_first() -> None:
    held = RepairLine(RepairKind.REENQUEUE, 40, 0, held_back="would re-enqueue 40 of 40", tripped=True)
    text = needs_person_now(a_report(line("c1", Verdict.STALLED, needs_person=True), repairs=[held]))
    first, second = text.splitlines()[2:]
    assert first.startswith("- reenqueue held back: would re-enqueue 40 of 40; next: `campaign-ops plan")
    assert second == "- stalled: c1: because; next: restart the sender in the application"
    alone = needs_person_now(a_report(queue=replace(QUEUE, problem="half read")))
    assert alone.startswith("**Something kept the sweep from its work**\n\n- queue sms-send: half read; next: check")


def failing(*reasons: str) -> str:
    """The short form of a report with these failures."""
    failures = tuple((f"cmp_{number:02}", why) for number, why in enumerate(reasons))
    return needs_person_now(a_report(repairs=[RepairLine(RepairKind.COMPLETE, len(reasons), 0, failures=failures)]))


@pytest.mark.parametrize("number", [29, 30])
def test_what_finds_no_room_is_counted(number: int) -> None:
    text = failing(*["the trigger said no " * 9] * number)
    shown = text.count("could not complete")
    assert 0 < shown < number
    assert text.endswith(f"\n- and {number - shown} more in `report`")
    assert len(text) <= INLINE < len(text) + len(text.splitlines()[2]), "as many as there is room for"
    assert "the trigger said no…" not in text
    assert "…; next: wait" in text, "and each is cut"


def test_all_the_room_is_used() -> None:
    assert max(len(failing(*["x" * 20] * 9, "x" * length)) for length in range(90)) == INLINE


@pytest.mark.parametrize(("length", "linked"), [(198, True), (199, False)])
def test_a_long_address_leaves_the_room_to_what_needs_a_person(length: int, linked: bool) -> None:
    address = "https://" + "x" * (length - len(" [console](https:///campaigns?platform=sms)"))
    assert ("[console]" in needs_person_now(a_report(), Console(address))) is linked


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["c1"], "- empty: c1: because; next: find out"),
        (["x" * 40], f"- empty: {'x' * 40}: because; next"),
        (["x" * 41], f"- empty: {'x' * 41}; next"),
        (["c1", "c2"], "- empty: c1, c2; next"),
        (["c1", "c2", "c3"], "- empty: c1, c2, c3; next"),
        (["c1", "c2", "c3", "c4"], "- empty: c1, c2, c3 and 1 more; next"),
    ],
)
def test_alike_campaigns_are_named_as_long_as_they_are_few(ids: list[str], told: str) -> None:
    text = needs_person_now(a_report(*(line(name, Verdict.EMPTY, needs_person=True) for name in ids)))
    assert text.splitlines()[2].startswith(told)


def test_ten_campaigns_are_a_line_each_and_none_is_left_to_count() -> None:
    items = [line(f"c{number}", Verdict.EMPTY, needs_person=True) for number in range(SHOWN)]
    told = section(render(a_report(*items)), "Needs a person")
    assert told.count("\n") == SHOWN - 1
    assert "more" not in told


def test_the_command_that_confirms_replaces_the_next_step_of_a_breaker_alone() -> None:
    held = RepairLine(RepairKind.REENQUEUE, 40, 0, held_back="would re-enqueue 40 of 40", tripped=True)
    offer = Offer("abcd-efgh-jkmn", NOW, ("reenqueue",))
    report = a_report(repairs=[held], offers=[offer], queue=replace(QUEUE, problem="half read"), no_offer="No code.")
    breaker, queue, command, none = section(render(report), "Needs a person").splitlines()
    assert breaker == "- reenqueue held back: would re-enqueue 40 of 40"
    assert "half read; next: check Redis" in queue
    assert "`campaign-ops reconcile --platform sms --confirm abcd-efgh-jkmn --reason WHY`" in command
    assert none == "- No code."


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("|\\<[`é\n") | st.characters(), min_size=1, max_size=400), st.integers(1, 40))
def test_it_is_always_short_enough_to_be_shown_and_shows_something(name: str, number: int) -> None:
    verdicts = [verdict for verdict in Verdict if verdict is not Verdict.COOLDOWN]
    items = [line(name, verdict, reason=name, needs_person=True) for verdict in verdicts[:number]]
    for console in (None, CONSOLE, Console("https://" + "long." * 200 + "example.com")):
        text = needs_person_now(a_report(*items), console)
        assert len(text) <= INLINE
        assert text.count("\n- ") >= 1
        assert not text.startswith("\n")


@pytest.mark.parametrize("name", NASTY)
def test_no_name_breaks_it(name: str) -> None:
    text = needs_person_now(report_with(name))
    assert shape(text)[:6] == shape(needs_person_now(report_with("harmless")))[:6]
    inline = {child.type for token in PARSER.parse(text) for child in token.children or []}
    assert not inline & {"html_inline", "image", "link_open"}


# -- links to the console -------------------------------------------------------------------------------------------


def test_each_campaign_links_to_its_page_in_the_console() -> None:
    report = a_report(line("a/b c", Verdict.STALLED, needs_person=True))
    told = section(render(report, CONSOLE), "Needs a person")
    assert told.endswith(" [console](https://ops.example.com/campaigns/sms?id=a%2Fb%20c)")
    assert "(https://ops.example.com/campaigns?platform=sms)" in needs_person_now(report, CONSOLE)
    assert "](" not in render(report)
    nowhere = replace(line("r1", None, needs_person=True), campaign_id=None)
    assert "](" not in section(render(a_report(nowhere), CONSOLE), "Needs a person")


@pytest.mark.parametrize("name", NASTY)
def test_no_id_breaks_out_of_a_link(name: str) -> None:
    item = line(name or "x", Verdict.AMBIGUOUS, name=name, reason=name, needs_person=True)
    text = render(a_report(item), CONSOLE)
    links = [
        child.attrs["href"] for token in PARSER.parse(text) for child in token.children or [] if "href" in child.attrs
    ]
    assert len(links) == 1
    assert all(str(link).startswith("https://ops.example.com/campaigns/sms?id=") for link in links)
