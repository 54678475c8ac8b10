"""Releasing credits and taking a repair back: only for the reasons that the rules name, and only once."""

from __future__ import annotations

from datetime import UTC, datetime

from campaign_ops.core.model import Counters
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.postgres import completion, guarded, recipients, reservations
from tests.postgres.ground import MAX_AGE, Ground, kept, seconds_since

SETTLES = 900.0


def release(ground: Ground, *labels: str, stuck_after_seconds: float | None = SETTLES) -> set[str]:
    """As a sweep does it: keep the campaigns from changing, lock the holds, release."""
    ids = [ground.app.id(label) for label in labels]
    with ground.begin() as connection:
        locked = list(connection.scalars(reservations.lock_campaigns_of_holds(ground.tables), {"ids": ids}))
        held = list(connection.scalars(reservations.lock_holds(ground.tables), {"ids": ids}))
        binds = {"ids": held, "locked": locked, "max_age": MAX_AGE, "stuck_after_seconds": stuck_after_seconds}
        return set(connection.scalars(reservations.release(ground.tables), binds))


def reserve(ground: Ground) -> dict[str, list[str]]:
    """A reservation for every case: by the campaign's state and by its own lateness."""
    words = ground.platform.profile.campaign.words
    states: dict[str, str] = {
        "sending": words.sending,
        "idle": words.idle[0],
        **{f"over{n}": w for n, w in enumerate(words.all_over)},
    }
    for state, word in states.items():
        ground.app.add_campaign(state, status=word)
    made: dict[str, list[str]] = {}
    for state in (*states, "gone", "none"):
        for late, more in {
            "in time": {"expires_in": minutes(5)},
            "for ever": {},
            "young": {"created_ago": hours(47.9)},
            "expired": {"expires_in": -minutes(5)},
            "old": {"created_ago": hours(48.1)},
        }.items():
            label = f"{state}, {late}"
            ground.app.add_reservation(label, campaign=None if state == "none" else state, **more)  # type: ignore[arg-type]
            made.setdefault(state, []).append(label)
    return made


def test_credits_are_released_for_the_reasons_that_the_rules_name_and_no_other(ground: Ground) -> None:
    made = reserve(ground)
    labels = [label for group in made.values() for label in group]
    before = {label: ground.app.reservation(label) for label in labels}
    released = release(ground, *labels)
    wanted = {label for label in labels if label.startswith("over")}
    wanted |= {
        label for state in ("idle", "gone", "none") for label in made[state] if label.endswith(("expired", "old"))
    }
    assert released == {ground.app.id(label) for label in wanted}
    profile = ground.platform.profile.reservation
    assert profile is not None
    for label in labels:
        row = ground.app.reservation(label)
        if label in wanted:
            assert row["status"] == profile.words.released
            assert abs(seconds_since(row["released_at"])) < 60
            assert row["amount"] == before[label]["amount"]
        else:
            assert row == before[label]
    assert release(ground, *labels) == set(), "each is released once"


def test_credits_of_a_campaign_that_ended_just_now_are_left_to_the_application(ground: Ground) -> None:
    """The write says so itself: whatever was planned, the campaign or the hold may have changed since."""
    done, settled = ground.platform.profile.campaign.words.done, {"old, expired"}
    for label, updated in (("now", minutes(0)), ("lately", minutes(14)), ("ahead", -minutes(30)), ("old", minutes(16))):
        ground.app.add_campaign(label, status=done, updated_ago=updated)
        ground.app.add_reservation(f"{label}, expired", campaign=label, expires_in=-minutes(5), created_ago=hours(50))
    ground.app.add_reservation("old, reserved lately", campaign="old", created_ago=minutes(14))
    labels = [f"{label}, expired" for label in ("now", "lately", "ahead", "old")] + ["old, reserved lately"]
    assert release(ground, *labels) == {ground.app.id(label) for label in settled}
    rest = {ground.app.id(label) for label in labels if label not in settled}
    assert release(ground, *labels, stuck_after_seconds=None) == rest, "a person need not wait"


def test_a_campaign_with_an_unknown_status_word_keeps_its_credits(ground: Ground) -> None:
    ground.app.add_campaign("odd")
    ground.set_word(ground.app.tables.campaign, "archived")
    ground.app.add_reservation("one", campaign="odd", created_ago=hours(900), expires_in=-hours(800))
    assert release(ground, "one") == set()


def test_credits_of_a_campaign_that_somebody_is_changing_are_left_for_the_next_time(ground: Ground) -> None:
    """A draft that is being started this moment: its old reservation is the one that it will send with."""
    words = ground.platform.profile.campaign.words
    ground.app.add_campaign("draft", status=words.idle[0])
    ground.app.add_reservation("old", campaign="draft", created_ago=hours(50))
    campaign = ground.app.tables.campaign
    with ground.app.engine.begin() as connection:
        connection.execute(campaign.update().values({campaign.c.status: words.sending}))
        assert release(ground, "old") == set()
    assert release(ground, "old") == set()


def test_a_hold_that_somebody_else_has_locked_is_skipped(ground: Ground) -> None:
    ground.app.add_campaign("over", status=ground.platform.profile.campaign.words.done)
    ground.app.add_reservation("taken", campaign="over")
    ground.app.add_reservation("free", campaign="over")
    with ground.begin() as connection:
        connection.execute(reservations.lock_holds(ground.tables), {"ids": [ground.app.id("taken")]})
        assert release(ground, "taken", "free") == {ground.app.id("free")}


def test_no_statement_takes_a_reservation_that_holds_nothing(ground: Ground) -> None:
    """Each has the premise itself: a sweep locks first, and so never showed that the release has it too."""
    profile = ground.platform.profile.reservation
    assert profile is not None
    campaign = ground.app.add_campaign("over", status=ground.platform.profile.campaign.words.done)
    one = ground.app.add_reservation("one", campaign="over", status=profile.words.released)
    assert ground.ids(reservations.lock_holds_of_campaigns(ground.tables), ids=[campaign]) == []
    for statement in (reservations.lock_holds, reservations.release_locked):
        assert ground.ids(statement(ground.tables), ids=[one]) == []
    binds = {"ids": [one], "locked": [campaign], "max_age": MAX_AGE, "stuck_after_seconds": None}
    assert ground.ids(reservations.release(ground.tables), **binds) == []


def test_every_hold_of_a_completed_campaign_is_found_and_let_go(ground: Ground) -> None:
    """A second reservation of the same campaign leaked."""
    campaign = ground.app.add_campaign("one", succeeded=1)
    ground.app.add_campaign("other")
    wanted = {ground.app.add_reservation(f"r{number}", campaign="one") for number in range(3)}
    ground.app.add_reservation("other's", campaign="other")
    with ground.begin() as connection:
        held = list(connection.scalars(reservations.lock_holds_of_campaigns(ground.tables), {"ids": [campaign]}))
        assert set(held) == wanted
        assert set(connection.scalars(reservations.release_locked(ground.tables), {"ids": held})) == wanted
        assert connection.scalars(reservations.release_locked(ground.tables), {"ids": held}).all() == []


def test_a_repair_can_be_taken_back_to_the_last_digit(counting: Ground) -> None:
    counting.app.add_campaign("one", succeeded=3, counters=Counters(3, 1, 0), started_ago=hours(2))
    original, binds = counting.app.campaign("one"), counting.observed("one")
    with counting.begin() as connection:
        before = kept(connection.execute(completion.lock_observed(counting.tables), binds).mappings().one())
        after = kept(connection.execute(completion.complete(counting.tables), binds).mappings().one())
    one, table = counting.app.id("one"), counting.tables.campaign
    assert counting.ids(guarded.as_left(table, one, after=after)) == [one]
    assert counting.ids(guarded.restore(table, one, before=before, after=after)) == [one]
    assert counting.app.campaign("one") == original
    assert counting.ids(guarded.as_left(table, one, after=after)) == []
    assert counting.ids(guarded.restore(table, one, before=before, after=after)) == []


def test_what_somebody_changed_since_is_not_taken_back(ground: Ground) -> None:
    ground.app.add_campaign("over", status=ground.platform.profile.campaign.words.done)
    ground.app.add_reservation("one", campaign="over")
    one, table = ground.app.id("one"), ground.tables.reservations
    with ground.begin() as connection:
        before = kept(connection.execute(reservations.lock_holds(ground.tables), {"ids": [one]}).mappings().one())
        after = kept(connection.execute(reservations.release_locked(ground.tables), {"ids": [one]}).mappings().one())
    assert before["released_at"] is None
    ground.app.set_reservation("one", released_at=minutes(1))
    changed = ground.app.reservation("one")
    assert ground.ids(guarded.restore(table, one, before=before, after=after)) == []
    assert ground.app.reservation("one") == changed


def test_a_person_s_choice_about_recipients_is_written_only_while_their_campaign_is_sending(ground: Ground) -> None:
    words = ground.platform.profile.campaign.words
    ground.app.add_campaign("open", pending=2)
    ground.app.add_campaign("over", pending=2, status=words.over[0])
    open_ids = ground.app.pending_ids("open")
    ids = [*open_ids, *ground.app.pending_ids("over")]
    for statement in (recipients.lock_waiting, recipients.take_as_sent):
        assert sorted(ground.ids(statement(ground.tables), ids=ids)) == sorted(open_ids)
    assert ground.ids(recipients.lock_waiting(ground.tables), ids=ids) == [], "they were taken as sent"
    binds = {"ids": ids, "taken_at": datetime.now(UTC)}
    back = recipients.give_back(ground.platform.profile.recipient.words.pending[0], ground.tables)
    campaign = ground.app.tables.campaign
    for word, expected in ((words.over[0], []), (words.sending, sorted(open_ids))):
        with ground.app.engine.begin() as connection:
            connection.execute(campaign.update().where(campaign.c.name == "open").values(status=word))
        assert sorted(ground.ids(recipients.as_taken(ground.tables), **binds)) == expected
        assert sorted(ground.ids(back, **binds)) == expected
    assert sorted(ground.app.pending_ids("open")) == sorted(open_ids)
