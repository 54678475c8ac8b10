"""Rows that our role cannot see: a sweep that judged by the rest would call unfinished campaigns finished."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from campaign_ops.core.errors import PermissionMissing
from campaign_ops.doctor import Level, examine
from campaign_ops.doctor.grants import quoted
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.sweep.report import dry_run
from tests.conftest import World
from tests.doctor.bench import connect_as, least, of, run

PENDING_IS_HIDDEN = (
    'ALTER TABLE "CampaignRecipient" ENABLE ROW LEVEL SECURITY',
    """CREATE POLICY shown ON "CampaignRecipient" USING (status <> 'pending')""",
)


def _unfinished(world: World) -> None:
    world.app.add_campaign("one", succeeded=2, pending=3)
    world.app.add_reservation("held", campaign="one")


def _untouched(world: World) -> bool:
    statuses = world.app.campaign("one")["status"], world.app.reservation("held")["status"]
    return statuses == ("sending", "active")


@pytest.mark.parametrize("table", ["Campaign", "CampaignRecipient", "CreditReservation"])
def test_a_policy_on_any_table_that_we_judge_by_is_refused_before_anything_is_touched(sms: World, table: str) -> None:
    _unfinished(sms)
    role = least(sms)
    run(sms, f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY', f'CREATE POLICY all_of_it ON "{table}" USING (true)')
    attempts: tuple[Callable[[], object], ...] = (sms.sweep, lambda: dry_run(sms.platform))
    for attempt in attempts:
        with pytest.raises(PermissionMissing, match=f'row level security may hide rows of "{table}"') as caught:
            attempt()
        assert f"ALTER ROLE {quoted(role)} BYPASSRLS" in caught.value.mend
        assert "\n" not in str(caught.value)
    (found,) = of(examine(sms.platform), "row_security")
    assert found.level is Level.ERROR
    assert _untouched(sms)


def test_a_campaign_with_hidden_pending_recipients_is_never_called_finished(sms: World) -> None:
    """Measured before: 2 of 5 sent, campaign marked sent, credits released, exit 0."""
    _unfinished(sms)
    least(sms)
    run(sms, *PENDING_IS_HIDDEN)
    with pytest.raises(PermissionMissing):
        sms.sweep()
    with pytest.raises(PermissionMissing):
        mark_complete(sms.platform, sms.app.id("one"), Person("me", "why not", "run"))
    assert _untouched(sms)


def test_a_policy_that_comes_while_a_process_is_running_makes_an_error_and_hides_nothing(sms: World) -> None:
    _unfinished(sms)
    least(sms)
    sms.sweep()
    run(sms, *PENDING_IS_HIDDEN, """UPDATE "Campaign" SET "updatedAt" = now() - interval '1 h'""")
    with pytest.raises(PermissionMissing, match="row level security hides rows"):
        sms.sweep()
    assert _untouched(sms)


def test_the_owner_is_refused_only_where_policies_are_forced_on_it(sms: World) -> None:
    _unfinished(sms)
    run(sms, "CREATE ROLE landlord LOGIN", "GRANT ALL ON SCHEMA campaign_ops TO landlord")
    run(sms, "GRANT ALL ON ALL TABLES IN SCHEMA campaign_ops TO landlord")
    for table in ("Campaign", "CampaignRecipient", "CreditReservation"):
        run(sms, f'ALTER TABLE "{table}" OWNER TO landlord', f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
    assert dry_run(connect_as(sms, "landlord")).figures()["stuck"] == 1
    run(sms, 'ALTER TABLE "CampaignRecipient" FORCE ROW LEVEL SECURITY')
    with pytest.raises(PermissionMissing, match="CampaignRecipient"):
        dry_run(connect_as(sms, "landlord"))


def test_a_role_that_policies_do_not_apply_to_sweeps(sms: World) -> None:
    sms.app.add_campaign("one", succeeded=2)
    role = least(sms)
    run(sms, *PENDING_IS_HIDDEN, f"ALTER ROLE {quoted(role)} BYPASSRLS")
    assert sms.sweep().figures()["completed"] == 1
