"""The drill's sweeper, or its Dagster process, with a fault planted in the product; a drill must report the damage.

CAMPAIGN_OPS_MUTATION=<name> python -m tests.lab.drill.mutant_sweeper …arguments of the sweeper…
"""

from __future__ import annotations

import os
import sys

from campaign_ops.lab.drill import dagster_sweeper, sweeper
from campaign_ops.lab.drill.environment.workforce import DAGSTER
from tests.lab.drill.mutations import PLANTED, VARIABLE


def main() -> None:
    """Plant the fault that the environment variable names, if any, and sweep until SIGTERM."""
    name = os.environ.get(VARIABLE, "")
    if name:
        PLANTED[name].apply()
    by_dagster = any(argument.startswith(f"--name={DAGSTER}") for argument in sys.argv)
    (dagster_sweeper if by_dagster else sweeper).main()


if __name__ == "__main__":
    main()
