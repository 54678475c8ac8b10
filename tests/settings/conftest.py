"""A directory and an environment of their own for the tests of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.files import DATABASE, QUEUE


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages name files relative to the current directory; the machine's own configuration stays out."""
    monkeypatch.chdir(tmp_path)
    for name in ("CAMPAIGN_OPS_CONFIG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DB", DATABASE)
    monkeypatch.setenv("REDIS", QUEUE)
