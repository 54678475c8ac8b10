"""Dagster's two files as they ship: at the top of a checkout, in a wheel beside this module."""

from __future__ import annotations

from pathlib import Path

from campaign_ops.core.errors import ConfigurationError

DAGSTER_FILES = ("dagster.yaml", "workspace.yaml")
_BESIDE = Path(__file__).resolve().parent
_PLACES = (_BESIDE, _BESIDE.parents[1])


def shipped(name: str) -> Path:
    """The file of this name.

    Raises:
        ConfigurationError: It is missing from the installation.
    """
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise ConfigurationError(f"{name} is missing from the installation", mend="install campaign_ops again")
