"""The drill's sweeper with one rule of the product removed; a drill must report the damage that it does.

CAMPAIGN_OPS_MUTATION=<name> python -m tests.lab.drill.mutant_sweeper …arguments of the sweeper…
"""

from __future__ import annotations

import os

from campaign_ops.lab.drill import sweeper
from tests.lab.drill.mutations import MUTATIONS, VARIABLE


def main() -> None:
    """Remove the rule that the environment variable names, if any, and sweep until SIGTERM."""
    name = os.environ.get(VARIABLE, "")
    if name:
        MUTATIONS[name].apply()
    sweeper.main()


if __name__ == "__main__":
    main()
