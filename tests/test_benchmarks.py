"""Whoever takes part in the benchmark does the same work: else its ratios would say nothing. No seconds here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.ground import Ground, a_worker, lay
from benchmarks.rounds import Disagreement, agree
from benchmarks.sizes import TINY, Kind
from benchmarks.versus import EVERYBODY
from campaign_ops.demo.servers import EmbeddedServers

LAID = list(TINY.campaigns())
PUT_BACK = {
    (one.id, number)
    for one in LAID
    if one.kind in (Kind.LOST, Kind.HALF)
    for number in one.recipient_ids(one.sent + one.queued + 1, one.recipients)
}


@pytest.fixture(scope="module")
def ground(servers: EmbeddedServers) -> Iterator[Ground]:
    laid = lay(servers, TINY)
    with a_worker(laid):
        yield laid
    servers.postgres.drop_database("bench")


@pytest.mark.parametrize("who", EVERYBODY)
def test_everybody_completes_releases_and_puts_back_the_same(ground: Ground, who: str) -> None:
    ground.restore()
    before = ground.repaired()
    EVERYBODY[who](ground)
    after = ground.repaired()
    finished = {(one.id, "sent") for one in LAID if one.kind is Kind.FINISHED}
    assert after["campaigns"] - before["campaigns"] == finished
    assert after["reservations"] - before["reservations"] == {(f"res{one}", "released") for one, _ in finished}
    assert {(campaign, recipient) for campaign, _, recipient in after["queued"] - before["queued"]} == PUT_BACK
    assert ground.counts()["live jobs"] == TINY.jobs + sum(one.kind in (Kind.LOST, Kind.HALF) for one in LAID)


def test_restored_ground_is_as_it_was_laid(ground: Ground) -> None:
    ground.restore()
    laid, counts = ground.repaired(), ground.counts()
    EVERYBODY["sweep"](ground)
    ground.restore()
    assert (ground.repaired(), ground.counts()) == (laid, counts)


def test_nothing_is_stuck_on_calm_ground(ground: Ground) -> None:
    ground.restore()
    laid = ground.repaired()
    ground.calm()
    EVERYBODY["sweep"](ground)
    assert ground.repaired() == laid


def test_two_who_left_different_things_behind_are_told_apart() -> None:
    with pytest.raises(Disagreement, match="live jobs: 3 after one, 4 after other"):
        agree({"one": {"live jobs": 3}, "other": {"live jobs": 4}})
