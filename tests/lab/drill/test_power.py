"""The faults planted for a random drill: each fits the product as it is, and their results are counted honestly."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab.drill.mutations import PLANTED
from tests.lab.drill.power import HEALTHY, table

AT_LEAST = 40

PLANT_EACH = """
import os
from tests.lab.drill.mutations import PLANTED

for name, fault in PLANTED.items():
    child = os.fork()
    if not child:
        fault.apply()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{name} cannot be planted")
"""


def test_every_fault_can_be_planted_in_the_product_as_it_is() -> None:
    """What is replaced must exist: a fault whose function was renamed would be planted nowhere and never be seen."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", PLANT_EACH], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(PLANTED) >= AT_LEAST


@pytest.mark.parametrize(
    ("healthy", "failed", "seen"),
    [
        ([], ["journal"], "1 of 1 seen: 100 %"),
        ([], [], "0 of 1 seen: 0 %"),
        (["journal"], ["journal"], "0 of 1 seen: 0 %"),  # it fails without the fault, too
        ([], ["unexpected"], "0 of 1 seen: 0 %"),  # a sweeper that crashes proves nothing
    ],
)
def test_a_planted_fault_is_seen_by_damage_alone(healthy: list[str], failed: list[str], seen: str) -> None:
    results = [
        {"name": HEALTHY, "failed": dict.fromkeys(healthy, ()), "seconds": 90},
        {"name": "no_cooldown", "failed": dict.fromkeys(failed, ()), "seconds": 90},
    ]
    assert list(table(results))[-1].strip() == seen
