"""A line of the plan survives its row in the history, whatever fields it has."""

from __future__ import annotations

from dataclasses import fields

from campaign_ops.core.model import Outcome, RepairKind, Verdict
from campaign_ops.core.plan import PlanItem
from campaign_ops.journal import schema
from campaign_ops.sweep.rows import plan_item, plan_row

OF_EVERY_HISTORY = {column.name for column in schema.campaign_health.c} - {"report", "markdown"}


def test_the_table_of_plans_has_a_column_for_every_field_of_a_line_and_no_other() -> None:
    columns = {column.name for column in schema.repair_plan.c} - OF_EVERY_HISTORY
    assert columns == {field.name for field in fields(PlanItem)}


def test_a_line_of_the_plan_is_read_back_as_it_was_written() -> None:
    plain = PlanItem(None, "r1", None, "acme", "reservation r1", "held", amount="2.50")
    full = PlanItem(
        RepairKind.COMPLETE,
        "c1",
        "c1",
        "acme",
        "Spring",
        "nothing pending",
        Verdict.FINISHED,
        outcome=Outcome.DONE,
        missing=0,
        drained_per_hour=1.5,
        drift="sent counter 1, rows 2",
    )
    assert plan_row(plain)["kind"] == "none"
    assert [plan_item(plan_row(item)) for item in (plain, full)] == [plain, full]
