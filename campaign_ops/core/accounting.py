"""Recipients of a campaign, accounted for by its rows and, where it keeps them, its counters. Pure."""

from __future__ import annotations

from campaign_ops.core.model import Counters, Evidence, Tally


def total_recipients(evidence: Evidence) -> int:
    """Recipients in all: the rows, or the platform's own total if that is more and its counters count."""
    counters = _counters_that_count(evidence)
    return evidence.tally.rows if counters is None else max(evidence.tally.rows, counters.total)


def unsent(evidence: Evidence) -> int:
    """Recipients not accounted for: pending or unknown rows, and those that have no row and are in no counter."""
    tally, counters = evidence.tally, _counters_that_count(evidence)
    open_rows = tally.pending + sum(tally.unknown.values())
    if counters is None:
        return open_rows
    return max(open_rows, counters.total - _accounted_for(tally, counters), 0)


def _counters_that_count(evidence: Evidence) -> Counters | None:
    """The counters, where rows do not tell all: they appear only when sent, or all vanished with their contacts."""
    return evidence.campaign.counters if evidence.rows_when_sent or evidence.tally.rows == 0 else None


def _accounted_for(tally: Tally, counters: Counters) -> int:
    """Recipients that are settled by rows or counters.

    Where there are rows of an earlier run or of several tries, the rows alone count: the counters may be that run's, or
    count the tries.
    """
    rows = tally.accepted + tally.succeeded + tally.failed
    return rows if tally.earlier or tally.repeated else max(rows, counters.succeeded + counters.failed)


def _rows_prove(evidence: Evidence) -> bool:
    """Return whether each row is known to be of this run, and of a recipient of its own."""
    return evidence.people_known and evidence.campaign.started_at is not None and not evidence.tally.unsure


def proven(evidence: Evidence) -> bool:
    """Return whether it is certain that no recipient is unsent, where `unsent` says so.

    Where every recipient has a row, the rows or the counters must reach the campaign's own total: an importer died
    after 2 of 5 rows, and the campaign was called finished.

    Where rows appear only when sent, rows and counters agree; or rows that prove it account for all; or, as rows vanish
    with their contacts, the counter of successes together with the failed rows does. (A failed try may be counted
    before each retry, a success once.)
    """
    tally, counters = evidence.tally, evidence.campaign.counters
    if counters is None:
        return True
    if not evidence.rows_when_sent:
        return counters.total <= max(tally.rows, counters.succeeded + counters.failed)
    sent = tally.accepted + tally.succeeded
    by_rows, by_counters = sent + tally.failed, counters.succeeded + counters.failed
    if counters.total <= min(by_rows, by_counters):
        return counters.total > 0
    return _rows_prove(evidence) and 0 < counters.total <= max(by_rows, counters.succeeded + tally.failed)


def raised_counters(evidence: Evidence) -> Counters | None:
    """The counters raised to what the rows say, never lowered (rows vanish with their contacts); None if they agree.

    Rows that may be of an earlier run, or several of one recipient, raise nothing.
    """
    counters, tally = evidence.campaign.counters, evidence.tally
    if counters is None or (evidence.rows_when_sent and not _rows_prove(evidence)):
        return None
    raised = Counters(
        total=counters.total,
        succeeded=max(counters.succeeded, tally.succeeded + tally.accepted),
        failed=max(counters.failed, tally.failed),
    )
    return None if raised == counters else raised


def recount_of_open(evidence: Evidence) -> Counters | None:
    """The counters raised while recipients are unsent; None where counters are evidence.

    A sender that was only slow wakes up and adds its own share to a counter that we have raised: then the counters
    account for more than was sent, and the next sweep would call the campaign finished.
    """
    counters = evidence.campaign.counters
    if counters is None or evidence.rows_when_sent or evidence.tally.rows < counters.total:
        return None
    return raised_counters(evidence)


def drift(evidence: Evidence) -> str:
    """In words, the difference between counters and rows; empty when they agree or there are no counters."""
    counters, tally = evidence.campaign.counters, evidence.tally
    if counters is None:
        return ""
    pairs = (("sent", counters.succeeded, tally.succeeded + tally.accepted), ("failed", counters.failed, tally.failed))
    return ", ".join(f"{name} counter {counter}, rows {rows}" for name, counter, rows in pairs if counter != rows)
