"""A code covers what was shown, or less; what exceeds it is said with both numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from campaign_ops.core.confirmation import LETTERS, beyond, covers_of, exceeds, new_code
from campaign_ops.core.model import Outcome, RepairKind
from campaign_ops.core.plan import Plan, PlanItem

LOST = PlanItem(RepairKind.REENQUEUE, "c1", "c1", "shop", "c1", "lost", missing=5)
ENDED = PlanItem(RepairKind.COMPLETE, "c2", "c2", "shop", "c2", "finished", outcome=Outcome.DONE)
LEAKED = PlanItem(RepairKind.RELEASE, "r1", "c3", "shop", "r1", "leaked", amount="250.00")
PLAN = Plan((LOST, ENDED, LEAKED), 3, queue="queue q")
COVERS = covers_of(PLAN, (RepairKind.REENQUEUE, RepairKind.COMPLETE, RepairKind.RELEASE))


def test_a_code_is_three_groups_of_four_clear_letters_and_new_each_time() -> None:
    codes = {new_code("plan", COVERS) for _ in range(20)}
    assert len(codes) == 20
    assert all(re.fullmatch(f"[{LETTERS}]{{4}}(-[{LETTERS}]{{4}}){{2}}", code) for code in codes)


def test_a_code_covers_targets_with_their_sizes_and_the_queue() -> None:
    assert COVERS == {
        "queue": "queue q",
        "repairs": {"reenqueue": {"c1": 5}, "complete": {"c2": "done"}, "release": {"r1": "250"}},
    }
    unknown = (replace(LOST, missing=None), replace(ENDED, outcome=None), replace(LEAKED, amount=None))
    sizes = covers_of(replace(PLAN, items=unknown), set(RepairKind))["repairs"]
    assert (sizes["reenqueue"], sizes["complete"], sizes["release"]) == ({"c1": 0}, {"c2": ""}, {"r1": "0"})


@pytest.mark.parametrize(
    ("items", "queue", "words"),
    [
        ([LOST], "queue q", ()),
        ([replace(LOST, missing=4)], "queue q", ()),
        ([replace(LOST, missing=6)], "queue q", ("1 of 1 are more than it was given for (c1: 6 now, 5 then)",)),
        ([replace(LOST, target="c9")], "queue q", ("1 of 1 are not in the plan that the code was given for",)),
        (
            [LOST, replace(LOST, target="c9"), replace(LOST, missing=6)],
            "queue q",
            ("1 of 3 are not", "1 of 3 are more"),
        ),
        ([LOST], "queue p", ("given for queue q, and now it is queue p",)),
        ([LOST], "", ()),
        ([ENDED], "queue p", ("given for queue q",)),
        ([replace(ENDED, outcome=Outcome.FAILED)], "queue q", ("c2: failed now, done then",)),
        ([LEAKED], "queue p", ()),  # rests on no queue
        ([replace(LEAKED, amount="250")], "queue q", ()),
        ([replace(LEAKED, amount="251")], "queue q", ("r1: 251 now, 250 then",)),
    ],
)
def test_what_exceeds_a_code_is_named_and_less_passes(
    items: list[PlanItem], queue: str, words: tuple[str, ...]
) -> None:
    kind = items[0].kind
    assert kind is not None
    told = beyond(COVERS, kind, items, queue)
    assert bool(told) is bool(words)
    assert all(part in told for part in words)


def test_a_code_of_one_kind_of_repair_confirms_no_other() -> None:
    covers = covers_of(PLAN, [RepairKind.RELEASE])
    assert "not given for this kind" in beyond(covers, RepairKind.REENQUEUE, [LOST], "queue q")
    assert beyond(covers, RepairKind.RELEASE, [LEAKED], "queue q") == ""


@pytest.mark.parametrize(
    ("now", "confirmed", "words"),
    [
        ({"jobs": 3}, {"jobs": 3}, ""),
        ({"jobs": 2}, {"jobs": 3}, ""),
        ({"jobs": 4}, {"jobs": 3}, "jobs: 4 now, 3 then"),
        ({"jobs": 4}, {}, "jobs: 4 now, None then"),
        ({"word": "sent"}, {"word": "sent"}, ""),
        ({"word": "failed"}, {"word": "sent"}, "word: failed now, sent then"),
        ({"ids": ["a"]}, {"ids": ["a", "b"]}, ""),
        ({"ids": ["a", "b"]}, {"ids": ["b", "a"]}, ""),
        ({"ids": ["a", "c"]}, {"ids": ["a", "b"]}, "ids: 2 now, 2 then, not the same ones"),
        ({"ids": ["a"]}, {"ids": 1}, "ids: 1 now, 1 then, not the same ones"),
        ({"jobs": 4, "word": "x"}, {"jobs": 3, "word": "y"}, "jobs: 4 now, 3 then, word: x now, y then"),
    ],
)
def test_a_fix_that_does_more_than_was_shown_says_by_how_much(
    now: dict[str, int | str | list[str]], confirmed: dict[str, int | str | list[str]], words: str
) -> None:
    assert exceeds(now, confirmed) == words
