"""The drill's sweeper with one rule of the product taken out: the process of which a drill must report the damage.

CAMPAIGN_OPS_MUTATION=<name> python -m tests.lab.drill.mutant_sweeper …arguments of the sweeper…
"""

from __future__ import annotations

import os

from campaign_ops.lab.drill import sweeper
from tests.lab.drill.mutations import MUTATIONS, VARIABLE


def main() -> None:
    """Take the rule out that the environment names, if it names one, and sweep until SIGTERM."""
    name = os.environ.get(VARIABLE, "")
    if name:
        MUTATIONS[name].apply()
    sweeper.main()


if __name__ == "__main__":
    main()
