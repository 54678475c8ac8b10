"""Faults planted in the product, each a rule that is removed: by name, for `tests.lab.drill.mutant_sweeper`.

Those of ``deciding`` and ``writing`` have a drill each that must show the damage (`test_mutations`). A random drill is
tried with all of them (`power`). A new guard or rule of the product gets a planted fault here.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.lab.drill.mutations import adding, completing, deciding, holding_back, looking, writing
from tests.lab.drill.mutations.mutation import UNSLOWED, Mutation, Planted

__all__ = ["MUTATIONS", "PLANTED", "UNSLOWED", "VARIABLE", "Mutation", "Planted"]

VARIABLE = "CAMPAIGN_OPS_MUTATION"
"""Environment variable that names the planted fault of a process."""

MUTATIONS: dict[str, Mutation] = {**deciding.MUTATIONS, **writing.MUTATIONS}

PLANTED: Mapping[str, Planted] = {
    **MUTATIONS,
    **looking.PLANTED,
    **adding.PLANTED,
    **completing.PLANTED,
    **holding_back.PLANTED,
}
