"""The rules of the product, each removed at least once: by name, for `tests.lab.drill.mutant_sweeper`."""

from __future__ import annotations

from tests.lab.drill.mutations import deciding, writing
from tests.lab.drill.mutations.mutation import Mutation

__all__ = ["MUTATIONS", "VARIABLE", "Mutation"]

VARIABLE = "CAMPAIGN_OPS_MUTATION"
"""Environment variable that names the mutation of a process."""

MUTATIONS: dict[str, Mutation] = {**deciding.MUTATIONS, **writing.MUTATIONS}
