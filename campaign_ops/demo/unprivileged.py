"""PostgreSQL refuses to run as root. Who runs it instead, and which directories that user can reach.

A path below a home directory of mode 700 is as good as absent for another user; nothing here widens a permission.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError

# sun_path holds 108 bytes; the rest of the socket's name is `/.s.PGSQL.65535`.
_LONGEST_SOCKET_DIRECTORY = 90


def server_user() -> pwd.struct_passwd | None:
    """Who runs the server in the place of root; None when we are not root.

    Raises:
        ConfigurationError: None of the usual users exists.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigurationError(
        "PostgreSQL does not run as root, and neither user 'postgres' nor 'nobody' exists",
        mend="run as an ordinary user, or create one of the two",
    )


def reachable_home(wanted: Path, user: pwd.struct_passwd | None) -> Path:
    """``wanted``, or a directory for it under the temporary one if ``user`` or a unix socket cannot live there.

    The same ``wanted`` gives the same directory every time.
    """
    if len(os.fsencode(wanted)) <= _LONGEST_SOCKET_DIRECTORY and (user is None or _reachable(wanted, user)):
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted
    return _own_directory(f"campaign-ops-{_short_hash(str(wanted))}", user)


def reachable_installation(installation: Path, user: pwd.struct_passwd | None) -> Path:
    """``installation``, or a copy of it where ``user`` can reach it."""
    if user is None or _reachable(installation, user):
        return installation
    home = _own_directory(f"campaign-ops-{_short_hash(str(installation.stat()) + str(installation))}", user)
    copy = home / installation.name
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=home))
        shutil.copytree(installation, unfinished / installation.name, symlinks=True)
        (unfinished / installation.name).rename(copy)
        unfinished.rmdir()
    return copy


def _own_directory(name: str, user: pwd.struct_passwd | None) -> Path:
    """A directory of ours under the temporary one, refused when somebody else made it first."""
    directory = Path(tempfile.gettempdir()).resolve() / name
    directory.mkdir(mode=0o755, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(
            "exists, but is not ours", where=str(directory), mend="remove it, or set TMPDIR to another directory"
        )
    if user is not None and not _reachable(directory, user):
        raise ConfigurationError(
            f"user {user.pw_name!r}, who runs PostgreSQL in the place of root, cannot enter it",
            where=str(directory),
            mend="run as an ordinary user, or set TMPDIR to a directory that everybody may enter",
        )
    return directory


def _reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether ``user`` may enter every directory from the root down to ``path`` (those that exist)."""
    for step in [path, *path.parents]:
        if not step.exists():
            continue
        found = step.stat()
        enter = stat.S_IXUSR if found.st_uid == user.pw_uid else stat.S_IXOTH
        if not found.st_mode & enter:
            return False
    return True


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
