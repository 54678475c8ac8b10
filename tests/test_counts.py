"""What a sweep sends and reads, to the last statement, round trip, key and row: none of it depends on the machine.

A figure that changes is a decision: more of one is slower on every network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import contestants
from benchmarks.dataset import Dataset, connected_worker, load
from benchmarks.sizes import Kind, Size
from benchmarks.statements import Counts, counted, payload_bytes
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.queries.status import campaign_status
from campaign_ops.sweep import reenqueue

SIZE = Size(20, 100, 300, mix=(Kind.FINISHED, Kind.COVERED, Kind.COVERED, Kind.LOST, Kind.LOST))
"""One job for each lost campaign; more live jobs than are read whole."""
LOST = [spec for spec in SIZE.campaigns() if spec.kind is Kind.LOST]
PENDING = [spec for spec in SIZE.campaigns() if spec.kind in (Kind.LOST, Kind.COVERED)]
FINISHED = [spec for spec in SIZE.campaigns() if spec.kind is Kind.FINISHED]


class Counting:
    """A loaded dataset, to be swept with so many jobs to a page."""

    def __init__(self, dataset: Dataset, log: Path) -> None:
        self.dataset, self.log = dataset, log

    def swept(self, patch: pytest.MonkeyPatch, jobs_per_page: int) -> Counts:
        patch.setattr(reenqueue, "JOBS_PER_PAGE", jobs_per_page)
        self.dataset.restore()
        return counted(contestants.sweep, self.dataset, self.log)


@pytest.fixture(scope="module")
def counting(servers: EmbeddedServers) -> Iterator[Counting]:
    dataset = load(servers, SIZE)
    with connected_worker(dataset):
        contestants.sweep(dataset)  # the first one notes which tables are whose
        yield Counting(dataset, servers.work_dir / "postgres.log")
    servers.postgres.drop_database("bench")


def test_each_further_page_costs_the_same(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(LOST) == 8
    one, two, four = (counting.swept(monkeypatch, jobs) for jobs in (8, 4, 2))
    for more, counts in ((1, two), (3, four)):
        assert counts.statements.total() - one.statements.total() == 26 * more
        assert counts.trips - one.trips == 10 * more
        assert counts.rows == one.rows


def test_recipients_are_read_as_often_as_a_rule_asks_for(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted once, and those of finished campaigns twice more: before they are completed, and in the write
    itself. Pending ones are cut, and compared before and after the add; one tells that its campaign is not finished.
    """
    counts = counting.swept(monkeypatch, 8)
    stuck = SIZE.stuck_recipients
    finished = sum(spec.recipients for spec in FINISHED)
    pending = sum(spec.recipients - spec.sent for spec in PENDING)
    compared = sum(spec.recipients - spec.sent for spec in LOST)
    assert counts.rows == stuck + pending + 2 * compared + 2 * finished + len(PENDING)


def test_status_counts_each_recipient_once_and_compares_those_of_stuck_campaigns(counting: Counting) -> None:
    """It once counted those of stuck campaigns twice, and compared all that were pending in any campaign."""

    def _status(dataset: Dataset) -> None:
        platform = dataset.platform()
        assert len(campaign_status(platform)) == len(list(SIZE.campaigns()))
        platform.close()

    counting.dataset.restore()
    counts = counted(_status, counting.dataset, counting.log)
    assert counts.rows == sum(spec.recipients for spec in SIZE.campaigns()) + sum(
        spec.recipients - spec.sent for spec in PENDING
    )


def test_of_other_campaigns_jobs_no_recipient_ids_leave_redis(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = counting.swept(monkeypatch, 8)
    assert counts.bytes < payload_bytes(counting.dataset, SIZE) + SIZE.jobs * 1_000
