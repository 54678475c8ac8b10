"""The directory of one drill. Only files of an earlier drill are ever deleted from it."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError

_HOME = Path(".drill")
_MARKER = "drill.json"


def unused_work_dir(seed: int) -> Path:
    """The default directory of a drill: named by its seed, and not yet used by an earlier drill."""
    names = itertools.chain([f"{seed}"], (f"{seed}-{number}" for number in itertools.count(2)))
    return next(path for path in map(_HOME.joinpath, names) if not path.exists())


def create_work_dir(directory: Path, seed: int) -> None:
    """Create it, empty except for the marker of a drill; the directory of an earlier drill is emptied first.

    Raises:
        ConfigurationError: It cannot be created, or it is not empty and not the directory of a drill.
    """
    where, mend = str(directory), "name another one with --work-dir"
    try:
        if directory.exists() and any(directory.iterdir()):
            if not (directory / _MARKER).exists():
                raise ConfigurationError("the directory is not empty and not a drill's", where=where, mend=mend)
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _MARKER).write_text(json.dumps({"seed": seed}) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the work directory cannot be created: {error.strerror or error}", where=where, mend=mend
        ) from None
