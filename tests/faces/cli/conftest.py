"""The program with one SMS platform, and with one messenger platform, each in a world of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import World
from tests.faces.cli.program import Program, configured


@pytest.fixture
def program(sms: World, tmp_path: Path) -> Program:
    """The program, with the SMS platform configured and nothing else."""
    return configured(tmp_path, sms)
