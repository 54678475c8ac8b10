"""Rules about deciding, each left out as a careless programmer would."""

from __future__ import annotations

from tests.drill.mutations.mutation import Mutation

MUTATIONS: dict[str, Mutation] = {}
