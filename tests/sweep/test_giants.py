"""A campaign too large for one short statement is read in pieces, and keeps no other from being repaired."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import Counters, Tally, Verdict
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.postgres import bounded, cover
from campaign_ops.sweep import coverage, tally
from campaign_ops.sweep.look import Observation, observe
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds
from tests.sweep.actors import covered


def in_pieces(patch: pytest.MonkeyPatch, rows: int = 7) -> None:
    """Read every campaign with more than a few recipients in pieces."""
    patch.setattr(tally, "ROWS_AT_ONCE", 10)
    patch.setattr(coverage, "PENDING_AT_ONCE", 10)
    patch.setattr(bounded, "PIECE", rows)


def looked(world: World) -> Observation:
    return observe(world.platform, any_age=True)


@pytest.mark.parametrize(("profile", "set_of"), [("sms", 500_000), ("sms", 0), ("messenger", 500_000)])
def test_pieces_show_what_one_statement_shows(
    worlds: Worlds, profile: str, set_of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where jobs list more recipients than PostgreSQL makes a set of."""
    world = worlds.make(profile)
    chance = random.Random(profile)
    for number in range(12):
        counts = {word: chance.choice([0, 0, 1, 30]) for word in ("pending", "succeeded", "failed", "accepted")}
        world.app.add_campaign(f"c{number}", **counts)  # type: ignore[arg-type]
    with world.app.engine.begin() as connection:
        recipient = world.app.tables.recipient
        strange = sa.select(recipient.c.id).order_by(recipient.c.id).limit(5).scalar_subquery()
        connection.execute(sa.update(recipient).where(recipient.c.id.in_(strange)).values(status="paused?"))
    if world.jobs is not None:
        for number in range(12):
            pending = world.app.pending_ids(f"c{number}")
            for listed in (pending[: len(pending) // 2], pending[: len(pending) // 4]):
                if listed:
                    world.queue.add(f"c{number}", "shop_north", listed)
    whole = looked(world)
    in_pieces(monkeypatch)
    monkeypatch.setattr(cover, "LISTED_AS_SET", set_of)
    pieces = looked(world)
    assert {case.campaign.id: case for case in pieces.evidence} == {case.campaign.id: case for case in whole.evidence}
    assert not any(case.uncounted for case in pieces.evidence)
    with world.platform.database.transaction() as connection:
        tallies = tally.Tallies({}, {})
        for case in whole.evidence:
            tally._tally_in_pieces(world.platform, connection, case.campaign.id, bounded.Patience(), tallies)
    assert [tallies.by_campaign.get(case.campaign.id, Tally()) for case in whole.evidence] == [
        case.tally for case in whole.evidence
    ]


def test_the_batches_of_a_giant_are_added_like_others(sms: World, monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces(monkeypatch, rows=300)
    sms.app.add_campaign("giant", pending=2_345)
    sms.sweep()
    assert sorted(covered(sms).elements()) == sorted(sms.app.pending_ids("giant"))


def test_a_giant_that_is_not_read_in_time_stops_only_itself(sms: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sms.app.add_campaign("giant", pending=200)
    sms.app.add_campaign("lost", pending=3)
    sms.app.add_campaign("finished", succeeded=3)
    with pytest.MonkeyPatch.context() as patch:
        in_pieces(patch)
        patch.setattr(bounded, "PATIENCE_SECONDS", 0.0)
        report = sms.sweep()
    (line,) = [item for item in report.plan.items if item.target == "giant"]
    assert (line.verdict, line.needs_person) == (Verdict.UNCOUNTED, True)
    assert sms.app.campaign("finished")["status"] == sms.platform.profile.campaign.words.done
    assert set(covered(sms)) == set(sms.app.pending_ids("lost"))
    with sms.app.engine.connect() as connection:
        counted = connection.scalars(sa.text("SELECT campaign_id FROM campaign_ops.recipient_status")).all()
    assert sorted(counted) == ["finished", "lost"], "no number stands for what was not counted"
    sms.sweep()
    assert set(sms.app.pending_ids("giant")) <= set(covered(sms)), "nothing is left of it"


def test_a_giant_that_is_not_read_in_time_is_completed_by_a_person_if_it_is_over(
    messenger: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch)
    monkeypatch.setattr(bounded, "PATIENCE_SECONDS", 0.0)
    messenger.app.add_campaign("over", succeeded=200, started_ago=hours(2))
    messenger.app.add_campaign("behind", succeeded=200, counters=Counters(200, 90, 0), started_ago=hours(2))
    messenger.app.add_campaign("open", succeeded=199, counters=Counters(200, 199, 0), started_ago=hours(2))
    assert {item.verdict for item in dry_run(messenger.platform).stuck} == {Verdict.UNCOUNTED}
    for label in ("over", "behind"):
        mark_complete(messenger.platform, label, Person("me", "it is over", label))
        assert messenger.app.campaign(label)["status"] == "COMPLETED"
    with pytest.raises(Refused, match="could not be counted"):
        mark_complete(messenger.platform, "open", Person("me", "it is over", "open"))


@pytest.mark.slow
def test_statements_that_run_out_of_time_leave_the_others_to_be_repaired(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600,000 recipients take several times as long as a statement may, and a piece of 2,000 a fraction of it."""
    sms = worlds.make("sms", policy={"max_jobs_per_sweep": 20})
    sms.app.add_campaign("giant", pending=600_000)
    for number in range(5):
        sms.app.add_campaign(f"lost{number}", pending=3, updated_ago=timedelta(hours=2))
    monkeypatch.setattr(bounded, "STATEMENT_SECONDS", 0.1)
    monkeypatch.setattr(tally, "LARGE", 2_000)
    sms.sweep()
    assert {one for number in range(5) for one in sms.app.pending_ids(f"lost{number}")} <= set(covered(sms))
    monkeypatch.setattr(bounded, "PIECE", 2_000)
    giant = {case.campaign.id: case for case in looked(sms).evidence}["giant"]
    assert giant.tally.pending == 600_000
    assert giant.coverage is not None
    assert giant.coverage.covered + giant.coverage.missing == 600_000
