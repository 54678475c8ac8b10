"""The health report: what an on-call person reads first, and that no name in it can break or forge it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from campaign_ops.core.causes import Cause
from campaign_ops.core.markdown import bullet, table
from campaign_ops.core.model import RepairKind, Verdict
from campaign_ops.core.plan import Plan, PlanItem
from campaign_ops.core.queue_state import QueueState, together
from campaign_ops.core.report import (
    CreditLine,
    HealthReport,
    RepairLine,
    by_verdict,
    drain_forecast,
    headline,
    render,
)
from campaign_ops.core.wording import SHOWN, duration, ids
from tests.evidence import NOW, QUEUE


def line(target: str = "cmp_1", verdict: Verdict | None = Verdict.JOBS_LOST, **more: object) -> PlanItem:
    values: dict[str, object] = {"kind": None, "name": target, "reason": "because", "total": 10, "unsent": 4}
    values |= {"stuck_seconds": 3600, **more}
    return PlanItem(target=target, campaign_id=target, tenant="shop_1", verdict=verdict, **values)  # type: ignore[arg-type]


def a_report(*items: PlanItem, sending: int = 20, **more: object) -> HealthReport:
    return HealthReport("sms", NOW, Plan(items, sending), **more)  # type: ignore[arg-type]


def section(text: str, title: str) -> str:
    """The part of a rendered report under one heading."""
    found = re.search(rf"^## {re.escape(title)}$\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {title!r} in:\n{text}"
    return found[1].strip()


def test_slow_campaigns_are_not_called_stuck() -> None:
    items = [line("lost"), line("slow", Verdict.PROGRESSING)]
    assert headline(a_report(*items)) == "1 stuck and 1 slow of 20 sending, nothing needs a person"


# -- what it says ---------------------------------------------------------------------------------------------------


def test_a_quiet_platform_says_so_in_one_line() -> None:
    report = a_report(sending=3)
    text = render(report)
    assert text.startswith("# sms: 0 stuck of 3 sending, nothing needs a person\n")
    assert section(text, "Needs a person") == "Nothing."
    assert section(text, "Stuck campaigns") == "None."


def test_what_needs_a_person_comes_first_with_its_reason() -> None:
    text = render(a_report(line("cmp_7", Verdict.AMBIGUOUS, name="Spring sale", needs_person=True, reason="3 marked")))
    assert "1 campaign needs a person" in text.splitlines()[0]
    assert section(text, "Needs a person") == (
        "- Spring sale (cmp_7): ambiguous: 3 marked; next: ask the provider; then"
        " `campaign-ops send-again cmp_7 --platform sms --reason WHY`, or `take-as-sent`"
    )
    assert text.index("## Needs a person") < text.index("## Stuck campaigns")


def test_a_campaign_without_workers_needs_a_person_though_its_missing_batches_were_re_enqueued() -> None:
    """A re-enqueue connects no worker and clears no marker."""
    items = [
        line("idle", Verdict.NO_WORKERS, kind=RepairKind.REENQUEUE, needs_person=True, reason="no worker"),
        line("marked", Verdict.JOBS_LOST, kind=RepairKind.REENQUEUE, needs_person=True, reason="2 marked"),
    ]
    report = a_report(*items, repairs=[RepairLine(RepairKind.REENQUEUE, 2, 2, ("idle", "marked"))])
    assert {item.target for item in report.for_person} == {"idle", "marked"}
    assert report.figures()["needs_person"] == 2


def test_what_kept_the_sweep_from_working_leads_the_report() -> None:
    repairs = [
        RepairLine(RepairKind.REENQUEUE, 40, 0, held_back="would re-enqueue 40 of 40 sending campaigns"),
        RepairLine(RepairKind.COMPLETE, 1, 0, failures=(("cmp_9", "a trigger said no"),)),
    ]
    report = a_report(line(needs_person=True), repairs=repairs, queue=replace(QUEUE, problem="Redis is away"))
    assert "reenqueue held back: would re-enqueue 40 of 40" in headline(report)
    told = section(render(report), "Needs a person")
    assert "next: check Redis and the network to it" in told
    assert "a trigger said no; next: wait: the next sweep tries again" in told
    for words in ("held back", "could not complete cmp_9: a trigger said no", "Redis is away"):
        assert words in told


def test_stuck_campaigns_stand_by_verdict_in_the_order_of_judgement_the_longest_stuck_first() -> None:
    items = [
        line("b", Verdict.JOBS_LOST, stuck_seconds=100),
        line("a", Verdict.JOBS_LOST, stuck_seconds=900),
        line("c", Verdict.UNKNOWN_STATUS),
    ]
    groups = [(verdict, [item.target for item in group]) for verdict, group in by_verdict(a_report(*items))]
    assert groups == [(Verdict.UNKNOWN_STATUS, ["c"]), (Verdict.JOBS_LOST, ["a", "b"])]
    assert "a, b" in section(render(a_report(*items)), "Stuck campaigns")


def test_recounts_and_reservations_are_not_counted_as_stuck_campaigns() -> None:
    items = [
        line(verdict=Verdict.STALLED),
        line(kind=RepairKind.RECOUNT, verdict=Verdict.STALLED),
        line("res_1", None, kind=RepairKind.RELEASE),
    ]
    assert a_report(*items).figures()["stuck"] == 1


def test_the_figures_count_what_they_say() -> None:
    items = [
        line("a", stuck_seconds=1800, unsent=4, doubled=1),
        line("b", stuck_seconds=1801, unsent=6, needs_person=True),
    ]
    repairs = [
        RepairLine(kind, planned=9, done=number)
        for number, kind in enumerate(
            (RepairKind.COMPLETE, RepairKind.REENQUEUE, RepairKind.RELEASE, RepairKind.RECOUNT), start=1
        )
    ]
    assert a_report(*items, repairs=repairs, sending=30).figures() == {
        "stuck": 2,
        "stuck_over_alert": 1,
        "oldest_stuck_seconds": 1801,
        "unsent": 10,
        "needs_person": 1,
        "reservations_need_person": 0,
        "sending": 30,
        "completed": 1,
        "reenqueued": 2,
        "released": 3,
        "recounted": 4,
        "doubled": 1,
        "more_releases": 0,
    }


UNKNOWN: dict[str, Any] = {"stuck_seconds": None, "unsent": None, "total": None}


def test_what_is_not_known_counts_as_nothing() -> None:
    unknown = a_report(line(**UNKNOWN), alert_after_seconds=0)
    assert unknown.figures() == dict.fromkeys(unknown.figures(), 0) | {"stuck": 1, "sending": 20}
    assert "| jobs_lost | 1 | 0 s | no recipients | - | cmp_1 |" in section(render(unknown), "Stuck campaigns")
    none = a_report(alert_after_seconds=0)
    assert none.figures() == dict.fromkeys(none.figures(), 0) | {"sending": 20}
    groups = by_verdict(a_report(line("b", **UNKNOWN), line("a", stuck_seconds=0), line("c", stuck_seconds=1)))
    assert [item.target for item in groups[0][1]] == ["c", "a", "b"], "an age that is not known is none"


def test_what_a_sweep_has_mended_needs_no_person() -> None:
    items = [
        line("completed", Verdict.FINISHED, needs_person=True),
        line("not", Verdict.FINISHED, needs_person=True),
        line("released", None, needs_person=True),
        line("kept", None, needs_person=True),
        line("well", Verdict.BACKLOG),
    ]
    repairs = [
        RepairLine(RepairKind.COMPLETE, 1, 1, ("completed", "kept", "well")),
        RepairLine(RepairKind.RELEASE, 1, 1, ("released", "not")),
    ]
    assert [item.target for item in a_report(*items, repairs=repairs).for_person] == ["not", "kept"]
    undone = [replace(repair, done=0) for repair in repairs]
    assert len(a_report(*items, repairs=undone).for_person) == 4


@pytest.mark.parametrize(
    ("more", "outcome", "causes"),
    [
        ({}, "done", []),
        ({"items": [line(needs_person=True)]}, "needs_person", []),
        ({"repairs": [RepairLine(RepairKind.COMPLETE, 1, 0, held_back="no")]}, "needs_person", [None]),
        (
            {"repairs": [RepairLine(RepairKind.COMPLETE, 1, 0, held_back="no", tripped=True)]},
            "needs_person",
            [Cause.BREAKER],
        ),
        ({"repairs": [RepairLine(RepairKind.COMPLETE, 1, 0, failures=(("c", "no"),))]}, "needs_person", [None]),
        ({"queue": replace(QUEUE, problem="half read")}, "needs_person", [Cause.QUEUE_UNREADABLE]),
        ({"queue": QUEUE}, "done", []),
        ({"queue": replace(QUEUE, problem="away", away=True)}, "source_away", [Cause.QUEUE_UNREADABLE]),
        (
            {"repairs": [RepairLine(RepairKind.COMPLETE, 1, 1), RepairLine(RepairKind.RELEASE, 1, 0, away=True)]},
            "source_away",
            [],
        ),
    ],
)
def test_a_sweep_ends_well_or_with_work_for_a_person_or_for_the_next_sweep(
    more: dict[str, Any], outcome: str, causes: list[Cause | None]
) -> None:
    report = a_report(*more.get("items", ()), **{key: value for key, value in more.items() if key != "items"})
    assert report.outcome == outcome
    assert [cause for _, cause in report.troubles] == causes


def test_credits_are_leaked_until_they_are_released() -> None:
    items = [line(f"r{number}", None, kind=RepairKind.RELEASE, amount=f"{number}.50") for number in range(3)]
    items += [line("unknown", None, kind=RepairKind.RELEASE), line("c1", amount="90")]
    repairs = [RepairLine(RepairKind.RELEASE, 3, 1, ("r1",)), RepairLine(RepairKind.COMPLETE, 1, 1, ("r2",))]
    report = a_report(*items, repairs=repairs, credits_held=Decimal(9))
    assert report.credit_figures() == {"credits_held": "9", "credits_leaked": "3.00"}
    assert replace(report, dry_run=True).credit_figures()["credits_leaked"] == "4.50"
    assert a_report(credits_held=Decimal(0)).credit_figures() == {"credits_held": "0", "credits_leaked": "0"}
    assert a_report(*items).credit_figures() == {}


def test_a_campaign_that_lacks_one_recipient_is_not_shown_as_wholly_done() -> None:
    text = render(a_report(line(total=10_000, unsent=1)))
    assert "99% of 10,000" in text
    assert "100%" not in text


def test_a_dry_run_cannot_be_taken_for_a_sweep() -> None:
    text = render(a_report(dry_run=True))
    assert "dry run: nothing was changed" in text
    assert "## Repairs this sweep would make" in text
    assert "## Repairs\n" not in text


def test_moments_are_shown_in_utc_whatever_their_zone() -> None:
    in_india = datetime(2026, 3, 1, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert "As of 2026-03-01 12:00:00 UTC" in render(replace(a_report(), at=in_india))


def test_long_lists_are_cut_and_say_by_how_much() -> None:
    many = [line(f"cmp_{number:02}", Verdict.QUARANTINED, needs_person=True) for number in range(25)]
    text = render(a_report(*many))
    assert f"and {25 - SHOWN} more" in section(text, "Needs a person")
    assert section(text, "Needs a person").count("\n") == SHOWN
    assert f"cmp_09 and {25 - SHOWN} more" in section(text, "Stuck campaigns")


@pytest.mark.parametrize(("count", "shown"), [(0, ""), (1, "0"), (SHOWN, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9")])
def test_ids_are_all_named_as_long_as_they_are_few(count: int, shown: str) -> None:
    assert ids(map(str, range(count))) == shown


def test_the_oldest_of_each_verdict_and_the_repairs_of_the_day_are_shown() -> None:
    items = [line("a", stuck_seconds=60, total=4, unsent=1), line("b", stuck_seconds=7200, total=None, unsent=None)]
    repairs = [RepairLine(RepairKind.COMPLETE, 3, 2, ("c",), detail="why"), RepairLine(RepairKind.RELEASE, 1, 0)]
    text = render(a_report(*items, repairs=repairs, repairs_of_the_day={"complete": 9}, recipients={"pending": 1234}))
    assert "| jobs_lost | 2 | 2 h | 75% of 4 | unknown | b, a |" in section(text, "Stuck campaigns")
    told = section(text, "Repairs")
    assert "| complete | 3 | 2 | 9 | why | c |" in told
    assert "| release | 1 | 0 | 0 |  |  |" in told
    assert "| pending | 1,234 |" in section(text, "Recipients of stuck campaigns")
    assert "Recipients" not in render(a_report())
    assert "Credits" not in render(a_report())
    assert "Change" not in render(a_report())


def test_a_queue_shows_its_jobs_and_what_is_odd_about_it() -> None:
    odd = replace(QUEUE, orphans=1, foreign_jobs=2, doomed_jobs=0, unclear_jobs={"x": 3}, paused=True, server_id=None)
    text = section(render(replace(a_report(queue=odd), plan=Plan((), 20, doubts=("restarted",)))), "Queue sms-send")
    assert text.startswith(
        "3 waiting, 2 workers, **paused**, 1 id without a job, 2 jobs of other names, 3 jobs x that "
    )
    assert "does not tell which process it is" in text
    assert "**restarted**" in text
    assert "| wait | 3 |" in text
    sound = section(render(a_report(queue=QUEUE)), "Queue sms-send")
    assert sound.startswith("3 waiting, 2 workers; bullmq:5.0.0\n\n| state")


def test_several_queues_have_a_row_each() -> None:
    parts = [
        QueueState("q-a", counts={"wait": 1200, "active": 1, "failed": 3}, workers=2, orphans=1),
        QueueState("q-b", workers=None, exists=False),
        QueueState("q-c", workers=0, paused=True),
    ]
    queue = together("q-{tenant}", "q-{tenant}", parts)
    told = section(render(replace(a_report(queue=queue), plan=Plan((), 20, doubts=("restarted",)))), "Queues")
    assert told.startswith("Batches are put back into q-{tenant}. 1,200 waiting in all, 1 id without a job.")
    assert "**restarted**" in told
    assert told.splitlines()[-3:] == [
        "| q-a | 1,200 | 1,201 | 3 | 2 |",
        "| q-b (never used) | 0 | 0 | 0 | unknown |",
        "| q-c (paused) | 0 | 0 | 0 | 0 |",
    ]


@pytest.mark.parametrize(("tenants", "more"), [(SHOWN, ""), (SHOWN + 1, "and 1 more tenants")])
def test_the_tenants_that_hold_most_are_shown_and_the_others_counted(tenants: int, more: str) -> None:
    lines = [CreditLine(f"t{number}", Decimal(1), Decimal(0), Decimal(0)) for number in range(tenants)]
    told = section(render(a_report(credits=lines)), "Credits")
    assert told.count("| t") == SHOWN + 1, "and the head"
    assert ("more tenants" in told, told.endswith(more)) == (bool(more), True)


def test_a_queue_that_could_not_be_read_shows_no_counts() -> None:
    told = section(render(a_report(queue=replace(QUEUE, problem="half read"))), "Queue sms-send")
    assert told == "half read"


def test_an_unknown_number_of_workers_is_not_shown_as_none() -> None:
    assert "unknown workers" in render(a_report(queue=replace(QUEUE, workers=None)))
    assert "0 workers" in render(a_report(queue=replace(QUEUE, workers=0)))


def test_the_depth_counts_every_list_that_waits() -> None:
    queue = QueueState("q", counts={"wait": 1, "paused": 20, "prioritized": 300, "active": 4000, "delayed": 9})
    assert "321 waiting" in render(a_report(queue=queue))


def test_a_platform_without_a_queue_says_so() -> None:
    assert section(render(a_report()), "Queue") == "This platform has none."


def test_credits_are_exact_to_the_last_digit() -> None:
    credits_ = [CreditLine("shop_1", Decimal("1234567.000001"), Decimal(0), Decimal("0.1"))]
    assert "| shop_1 | 1,234,567.000001 | 0 | 0.1 |" in section(render(a_report(credits=credits_)), "Credits")


def test_the_change_against_the_sweep_before_carries_its_sign() -> None:
    told = section(render(a_report(line(), before={"stuck": 3, "sending": 20})), "Change against the sweep before")
    assert "| stuck | 3 | 1 | -2 |" in told
    assert "| sending | 20 | 20 | +0 |" in told
    assert told.count("\n") == 3, "a figure that the sweep before did not have is left out"


@pytest.mark.parametrize(
    ("items", "forecast"),
    [
        ([line(unsent=0)], "-"),
        ([line(unsent=100)], "unknown"),
        ([line(unsent=100, drained_per_hour=0.0)], "never at this pace"),
        ([line(unsent=100, drained_per_hour=50.0)], "2 h"),
        ([line(unsent=50, drained_per_hour=25.0), line(unsent=50, drained_per_hour=25.0)], "2 h"),
        ([line(unsent=100, drained_per_hour=0.5)], "8 d"),
        ([line(unsent=1, drained_per_hour=3600.0)], "1 s"),
        ([line(unsent=3, drained_per_hour=2.0), line(unsent=None)], "90 min"),
        ([line(unsent=None)], "-"),
        ([], "-"),
    ],
)
def test_the_forecast_is_the_pending_at_the_pace_since_the_sweep_before(items: list[PlanItem], forecast: str) -> None:
    assert drain_forecast(items) == forecast


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_durations_are_said_as_a_person_would(seconds: int, said: str) -> None:
    assert duration(seconds) == said


# -- what it cannot be made to say ----------------------------------------------------------------------------------

PARSER = MarkdownIt("commonmark").enable("table")


def shape(text: str) -> list[str]:
    """The blocks of a rendered report, without the words in them."""
    return [token.type for token in PARSER.parse(text) if token.type != "inline"]


def cells(row: str) -> list[str]:
    """A table's row as GitHub splits it: a backslash escapes one character, itself included."""
    return re.findall(r"((?:\\.|[^|\\])*)\|", row.removeprefix("|"))


def report_with(name: str) -> HealthReport:
    """A report with somebody else's text wherever such text can stand."""
    item = line(name or "x", Verdict.NO_WORKERS, name=name, reason=f"held by {name}: {name}", needs_person=True)
    return a_report(
        *[item] * (SHOWN + 2),
        queue=replace(QUEUE, name=name, version=name, problem=None),
        credits=[CreditLine(name, Decimal(1), Decimal(1), Decimal(1))],
        repairs=[
            RepairLine(
                RepairKind.COMPLETE, 1, 1, (name or "x",), detail=name, held_back=f"by {name}", failures=((name, name),)
            )
        ],
        recipients={name: 1},
    )


NASTY = [
    "a | b",
    "a \\| b",
    "ends with \\",
    "two\nlines",
    "| a | b |\n| --- | --- |\n| forged | row |",
    "\r\n## Needs a person\r\n\r\nNothing.",
    "<script>alert(1)</script>",
    "<!-- swallows the rest",
    "`code | code`",
    "``` fence",
    "~~~ fence",
    "# heading",
    "> quote",
    "- item",
    "***",
    "![pixel](http://example.com/p.png)",
    "[here](javascript:alert(1))",
    "\x1b[31mred\x1b[0m",
    "null\x00byte",
    "\u202egnitirw desrever",
    "line\u2028separator\u2029",
    "\x85next\x0bline\x0c",
    "",
]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_breaks_the_report(name: str) -> None:
    text = render(report_with(name))
    assert shape(text) == shape(render(report_with("harmless")))
    rows = [row for row in text.splitlines() if row.startswith("|")]
    plain = [row for row in render(report_with("harmless")).splitlines() if row.startswith("|")]
    assert [len(cells(row)) for row in rows] == [len(cells(row)) for row in plain]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_brings_html_images_or_orders_to_a_terminal(name: str) -> None:
    text = render(report_with(name))
    inline = {child.type for token in PARSER.parse(text) for child in token.children or []}
    assert not inline & {"html_inline", "image", "link_open"}
    assert all(char == "\n" or char.isprintable() for char in text)


def test_a_name_is_still_readable_after_all_that() -> None:
    report = a_report(line("cmp_1", name="50% off | only <today> 👩‍👧 für 日本", needs_person=True))
    (told,) = (token for token in PARSER.parse(render(report)) if "50%" in token.content and token.children)
    assert told.children is not None
    shown = "".join(child.content for child in told.children)
    assert shown.startswith("50% off | only <today> 👩‍👧 für 日本 (cmp_1): jobs_lost: because; next: ")


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("|\\\n\r`~<>[]()!#*-_ \t\x00\x1b\u2028aé") | st.characters(), max_size=12))
def test_the_blocks_of_a_report_do_not_depend_on_anybody_s_names(name: str) -> None:
    assert shape(render(report_with(name))) == shape(render(report_with("harmless")))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=3))
def test_a_table_has_the_rows_and_cells_that_it_was_given(rows: list[list[str]]) -> None:
    lines = table(["one", "two"], rows).split("\n")
    assert len(lines) == 2 + len(rows)
    assert all(len(cells(row)) == 2 for row in lines)


@pytest.mark.parametrize(
    ("text", "item"),
    [("plain", "- plain"), ("- item", "- \\- item"), ("a-b", "- a-b"), ("", "- "), ("👩\u200d👧", "- 👩\u200d👧")],
)
def test_a_list_item_holds_one_line_of_text(text: str, item: str) -> None:
    assert bullet(text) == item
    assert bullet(text, "[more](x)") == f"{item} [more](x)"


def test_a_table_takes_other_cells_as_they_are_written() -> None:
    assert table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |"
    assert table(["a"], [["x|y"]], cell=str.upper).endswith("\n| X|Y |")
