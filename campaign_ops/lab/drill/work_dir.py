"""The directory of one drill: which one it is, and that nothing is lost in it but what an earlier drill has left."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError

_HOME = Path(".drill")
_MARKER = "drill.json"


def unused_work_dir(seed: int) -> Path:
    """The directory of a drill that is told none: named by its seed, and never that of an earlier drill."""
    names = itertools.chain([f"{seed}"], (f"{seed}-{number}" for number in itertools.count(2)))
    return next(path for path in map(_HOME.joinpath, names) if not path.exists())


def create_work_dir(directory: Path, seed: int) -> None:
    """Make it, empty but for the marker of a drill; what an earlier drill has left there is removed, and nothing else.

    Raises:
        ConfigurationError: It cannot be made, or there is something in it that no drill has made.
    """
    where, mend = str(directory), "name another one with --work-dir"
    try:
        if directory.exists() and any(directory.iterdir()):
            if not (directory / _MARKER).exists():
                raise ConfigurationError("the directory is not empty, and no drill has made it", where=where, mend=mend)
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _MARKER).write_text(json.dumps({"seed": seed}) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the work directory cannot be made: {error.strerror or error}", where=where, mend=mend
        ) from None
