"""PostgreSQL and PgBouncer refuse to run as root: the user that runs them, and programs that this user can read.

Another user cannot reach a path below a home directory of mode 700: the programs are copied. Permissions of existing
files are never widened.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.servers.scratch import scratch


def server_user() -> pwd.struct_passwd | None:
    """Return the user that runs the server instead of root; None when we are not root.

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


def server_home(name: str, user: pwd.struct_passwd | None) -> Path:
    """Make an empty directory for one server in the scratch directory, which ``user`` can enter."""
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch()))
    if user is not None:
        home.chmod(0o711)
    return home


def reachable_installation(installation: Path, home: Path, user: pwd.struct_passwd | None) -> Path:
    """Return ``installation``, or a copy of it in ``home`` where ``user`` cannot read it.

    The shared libraries that the wheel keeps beside its package are copied too: the programs look for them by a path
    relative to their own.
    """
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    if user is None or all(_readable(path, user) for path in _probes(installation, libraries)):
        return installation
    copy = home / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    for top in (home / package.name, home / libraries.name):
        _give(top, user)
    return copy


def _probes(installation: Path, libraries: Path) -> Iterator[Path]:
    """Yield the files whose readability decides whether an installation can be used."""
    yield installation / "bin" / "postgres"
    yield from list(libraries.glob("*"))[:1]


def _give(top: Path, user: pwd.struct_passwd) -> None:
    for folder, _, names in os.walk(top):
        os.chown(folder, user.pw_uid, user.pw_gid)
        for name in names:
            os.chown(Path(folder) / name, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _readable(path: Path, user: pwd.struct_passwd) -> bool:
    """Return whether ``user`` may enter every directory down to a file and read it."""
    steps = [(path, stat.S_IRUSR, stat.S_IROTH), *((parent, stat.S_IXUSR, stat.S_IXOTH) for parent in path.parents)]
    for step, as_owner, as_other in steps:
        facts = step.stat()
        if not facts.st_mode & (as_owner if facts.st_uid == user.pw_uid else as_other):
            return False
    return True
