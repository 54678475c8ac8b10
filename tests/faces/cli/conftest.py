"""The program, configured for one test platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import World
from tests.faces.cli.program import Program, configured


@pytest.fixture
def program(sms: World, tmp_path: Path) -> Program:
    """The program, configured for the SMS platform only."""
    return configured(tmp_path, sms)
