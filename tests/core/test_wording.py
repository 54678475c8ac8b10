"""Counts, texts and nearest words for a person; errors in one line; pages; the cause of an outage."""

from __future__ import annotations

import pytest

from campaign_ops.core.errors import CampaignOpsError, ProfileMismatch
from campaign_ops.core.outages import NETWORK, cause_of
from campaign_ops.core.paging import in_pages
from campaign_ops.core.wording import closest, counted, cut, is_unicode, nearest, settled_in_words, stuck_and_slow


@pytest.mark.parametrize(("count", "words"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (2000, "2,000 jobs")])
def test_counts_have_the_right_number(count: int, words: str) -> None:
    assert counted(count, "job") == words


@pytest.mark.parametrize(("slow", "words"), [(0, "3 stuck"), (1, "3 stuck and 1 slow")])
def test_slow_campaigns_are_named_where_there_are_any(slow: int, words: str) -> None:
    assert stuck_and_slow(3, slow) == words


@pytest.mark.parametrize(("text", "shown"), [("abcde", "abcde"), ("abcdef", "abcd…"), ("", "")])
def test_a_text_is_cut_where_it_is_longer_than_it_may_be(text: str, shown: str) -> None:
    assert cut(text, 5) == shown


@pytest.mark.parametrize(
    ("settled", "words"),
    [
        ({}, ""),
        ({"added": 0}, ""),
        ({"added": 2, "recipients": 9}, "2 jobs added (9 recipients)"),
        ({"added": 1, "recipients": 0}, "1 job added"),
        (
            {"added": 1, "recipients": 1, "taken_back": 2, "not_added": 3, "unknown": 4},
            "1 job added (1 recipient), 2 jobs taken out again, 3 jobs not added, 4 jobs not known",
        ),
    ],
)
def test_the_fate_of_an_earlier_sweep_s_jobs_in_words(settled: dict[str, int], words: str) -> None:
    assert settled_in_words(settled) == (f"of an earlier sweep that ended early: {words}" if words else "")


@pytest.mark.parametrize(
    ("text", "is_text"),
    [("", True), ("a é 日 👩", True), ("a\ud800", False), ("\udfffb", False), ("\ud7ff\ue000", True)],
)
def test_bytes_that_were_no_text_are_recognised(text: str, is_text: bool) -> None:
    assert is_unicode(text) is is_text


@pytest.mark.parametrize(
    ("word", "mend"),
    [
        ("pauze", "did you mean paused?"),
        ("SEND", "did you mean sending?"),
        ("xyz", "there are: paused, sending"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest_or_all(word: str, mend: str) -> None:
    assert nearest(word, ["paused", "sending"]) == mend
    assert nearest("xyz", []) == nearest("xyz", ["paused"], or_all=False) == ""
    assert closest("paused", ["PAUSED", "Paused", "sending"]) == "PAUSED", "the first of those that fold alike"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CampaignOpsError("wrong"), "wrong"),
        (CampaignOpsError("wrong", where="a.yaml"), "a.yaml: wrong"),
        (CampaignOpsError("wrong", mend="do it"), "wrong; do it"),
        (ProfileMismatch(["a", "b", "c"], where="db"), "db: a | b | c"),
        (ProfileMismatch(["a", "b", "c", "d"]), "a | b | c | and 1 more, all named by `campaign-ops doctor`"),
    ],
)
def test_an_error_is_one_line(error: CampaignOpsError, line: str) -> None:
    assert str(error) == line


def test_what_is_many_is_cut_into_pages() -> None:
    assert list(in_pages(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_pages([], 2)) == []


def test_the_cause_of_an_outage_is_the_first_that_the_driver_s_text_names() -> None:
    assert cause_of("Error 111: Connection REFUSED", NETWORK, "redis.url") == (
        "nothing listens there",
        "start the server, or correct host and port in redis.url",
    )
    assert cause_of("no such thing", NETWORK, "redis.url") is None
