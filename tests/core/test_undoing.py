"""Why a repair cannot be undone, if so: decided from its row in the journal."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.core.undoing import why_not


@pytest.mark.parametrize(
    ("repair", "why"),
    [
        ({"kind": "complete"}, ""),
        ({"kind": "complete", "before": {"status": "sending"}}, ""),
        ({"kind": "complete", "undone_by": 9}, "it was undone already, by repair 9"),
        ({"kind": "reenqueue"}, ""),
        ({"kind": "lift", "before": {"held_by": "ann"}}, ""),
        ({"kind": "lift"}, "an older version made it and did not note what was there before"),
        ({"kind": "take_as_sent"}, "an older version made it and did not note what was there before"),
        ({"kind": "undo"}, "a repair of kind undo cannot be undone: make the repair again"),
        ({"kind": "undo", "undone_by": 9}, "it was undone already, by repair 9"),
    ],
)
def test_what_can_be_undone_once_and_why_the_rest_cannot(repair: dict[str, Any], why: str) -> None:
    assert why_not({"before": None, "undone_by": None, **repair}) == why
