"""The platform beside: how its campaigns' lives end under sweeps, and that its figures see damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign_ops.lab.demo.platforms import changed
from campaign_ops.lab.drill import counters
from campaign_ops.lab.drill.checkers import counters as figures
from campaign_ops.lab.drill.checkers import journal, reservations, sending
from campaign_ops.lab.drill.checkers.worlds import met
from campaign_ops.lab.drill.counters import LIVES, CountersApplication, Life, Run
from campaign_ops.lab.drill.environment.environment import reservation_beside
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.profile.load import load_profile
from tests.conftest import Worlds
from tests.lab.drill.checked_world import POLICY, CheckedWorld, checked_world

OPEN = {counters.stops_half_way, counters.counts_every_try, counters.is_sent_again_in_part}
"""Lives after which recipients are still to be sent to."""
NEVER_OURS = {*OPEN, counters.is_completed, counters.is_cancelled}


@pytest.fixture
def stage(worlds: Worlds, work_dir: Path) -> CheckedWorld:
    profile = changed(load_profile("messenger"), {"reservation": reservation_beside()})
    return checked_world(worlds.make(profile, policy={**POLICY, "breaker_share": 1}), work_dir)


def lead(stage: CheckedWorld, *lives: Life) -> None:
    """Let campaigns lead these lives, to the end, and five minutes pass."""
    app = CountersApplication(stage.ledger, stuck_after_seconds=0.02)
    for life in lives:
        for _ in app.lead(life, Run(life.__name__, 10), "shop_north"):
            pass
    for table, *columns in (
        ("Message", "createdAt", "sentAt"),
        ("Campaign", "updatedAt", "startedAt", "completedAt"),
        ("CreditReservation", "createdAt"),
    ):
        moved = (f"""\"{column}\" = \"{column}\" - interval '5 min'""" for column in columns)
        stage.owner(f'UPDATE "{table}" SET {", ".join(moved)}')


def word(stage: CheckedWorld, life: Life) -> str:
    return str(stage.world.app.campaign(life.__name__)["status"])


def evidence(stage: CheckedWorld) -> bool:
    options = DrillOptions(Path("unused"), seed=7, seconds=60, worlds=("counters",))
    (figure,) = met(stage.records(), options, stage.records())
    return figure.holds


def test_sweeps_complete_what_was_sent_to_all_and_nothing_else_whatever_the_counters_say(stage: CheckedWorld) -> None:
    lead(stage, *LIVES)
    assert not evidence(stage)
    for _ in range(2):
        stage.world.sweep()
    assert {life for life in LIVES if word(stage, life) == "SENDING"} == OPEN
    completed = {change.key for change in sending.completed_by_us(stage.records())}
    assert completed == {life.__name__ for life in LIVES if life not in NEVER_OURS}
    assert evidence(stage)
    checked = figures.check_beside(stage.records(), at_the_end=True)
    assert [figure for figure in checked if not figure.holds] == []


def test_every_figure_of_the_platform_beside_can_fail(stage: CheckedWorld) -> None:
    lead(stage, counters.is_sent_and_never_completed, counters.is_cancelled, counters.is_completed)
    stage.fails(figures.left_open, "is_sent_and_never_completed")
    stage.fails(reservations.leaked, "is_cancelled")
    stage.ops("""UPDATE "CreditReservation" SET status = 'released' WHERE "campaignId" = 'is_cancelled'""")
    stage.fails(reservations.credits_exact, "the journal says 0")
    stage.fails(journal.journal, "is_cancelled")
    stage.ops("""UPDATE "Campaign" SET status = 'SENDING' WHERE id = 'is_cancelled'""")
    stage.fails(sending.finished_or_revived, "is_cancelled")
    failed = {figure.key for figure in figures.check_beside(stage.records(), at_the_end=False) if not figure.holds}
    assert failed == {"beside_credits_exact", "beside_journal", "beside_finished_or_revived"}


def test_a_sweep_that_counts_tries_and_earlier_runs_as_recipients_is_seen(stage: CheckedWorld) -> None:
    lead(stage, *OPEN)
    stage.world.sweep()
    stage.holds(figures.too_early)
    stage.sweep_as(changed(stage.world.platform.profile, {"recipient": {"rows": "all"}}))
    assert stage.check(figures.too_early).found == "2"
    for life in (counters.counts_every_try, counters.is_sent_again_in_part):
        assert word(stage, life) == "COMPLETED"
        stage.fails(figures.too_early, life.__name__)
