"""The chatservers that are measured: this checkout's, interpreted or compiled, and that of an earlier commit.

Each has an environment of its own in the cache, on the interpreter that runs the bench, so that only the code differs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster.paths import cache_root

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]

OLD_COMMIT = "490b79d"
"""The last commit before hints left the transaction: what a message cost then is the measure of what came since."""

KEPT_DAYS = 14
"""Environments that no run has used for so long are removed: each commit's compiled server is another one."""

BUILD_SECONDS = 1800
"""Longest step: mypyc takes a minute on an idle machine."""

_COMPLETE = "complete"
_COMPILED_FROM = ("chatserver/chatserver", "pyproject.toml", "hatch_build.py", "images/build/compile.txt", "uv.lock")


class NotBuiltError(Exception):
    """A chatserver cannot be installed on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Build:
    """An installed chatserver.

    Attributes:
        name: in reports.
        python: the interpreter of its environment.
    """

    name: str
    python: str


HERE = Build("interpreted", sys.executable)
"""This checkout's, as `uv sync` installs it."""


def old() -> Build:
    """Return the chatserver of `OLD_COMMIT`, with the packages that it pinned.

    Raises:
        NotBuiltError: git does not have the commit, or its packages cannot be downloaded.
    """

    def make(folder: Path) -> None:
        files = _run("git", "-C", str(ROOT), "archive", OLD_COMMIT)
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(folder, filter="data")
        _sync(folder, folder)

    return Build(OLD_COMMIT, _installed(f"{OLD_COMMIT}-{_digest()}", make))


def compiled() -> Build:
    """Return this checkout's chatserver with the modules compiled that are compiled in the image.

    Raises:
        NotBuiltError: there is no C compiler, or packages cannot be downloaded.
    """

    def make(folder: Path) -> None:
        # The one that the tests of the compiled modules run on.
        cache = str(cache_root() / "compiled")
        wheel = _run(str(ROOT / ".ci" / "compiled-wheel"), _uv(), cache, UV_PYTHON=sys.executable).decode().strip()
        _sync(ROOT, folder, "--no-install-project")
        _run(_uv(), "pip", "install", "--quiet", "--no-deps", "--python", str(_python(folder)), wheel)

    return Build("compiled", _installed(f"compiled-{_digest(*_COMPILED_FROM)}", make))


def installed() -> bool:
    """Install both, unless they are there; returns whether they are now."""
    reasons = []
    for build in (old, compiled):
        try:
            build()
        except NotBuiltError as reason:
            reasons.append(reason)
            print(f"not to be had: {reason}", file=sys.stderr)
    return not reasons


def _installed(name: str, make: Callable[[Path], None]) -> str:
    """Return the interpreter of an environment, which is made if it is not there."""
    parent = cache_root() / "bench" / "chatservers"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / name
    with (parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _COMPLETE).exists():
            print(f"==> installing the chatserver {name}", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                make(folder)
            except (OSError, subprocess.SubprocessError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise NotBuiltError(_reason(error)) from error
        (folder / _COMPLETE).touch()
        remove_stale(parent, time.time() - KEPT_DAYS * 86_400)
    return str(_python(folder))


def remove_stale(parent: Path, before: float) -> None:
    """Remove environments that were last used before a time, and those of interrupted installations.

    Args:
        parent: the folder that contains them; the caller has locked it.
        before: seconds since 1970.
    """
    for folder in parent.iterdir():
        if folder.is_dir():
            complete = folder / _COMPLETE
            if not complete.exists() or complete.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def _digest(*paths: str) -> str:
    """Return what differs when files below the root do, or the interpreter."""
    found = hashlib.sha256(f"{sys.base_prefix} {sys.version}".encode())
    for path in (ROOT / path for path in paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                found.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def _sync(project: Path, folder: Path, *more: str) -> None:
    command = [_uv(), "sync", "--quiet", "--frozen", "--no-dev", "--extra", "server", "--python", sys.executable]
    _run(*command, "--project", str(project), *more, UV_PROJECT_ENVIRONMENT=str(folder / "venv"))


def _python(folder: Path) -> Path:
    return folder / "venv" / "bin" / "python"


def _uv() -> str:
    return shutil.which("uv") or str(cache_root() / "uv" / "bin" / "uv")


def _run(*command: str, **settings: str) -> bytes:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | settings
    done = subprocess.run(command, env=environment, capture_output=True, timeout=BUILD_SECONDS, check=True)
    return done.stdout


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        with contextlib.suppress(IndexError):
            return str(error.stderr.decode().strip().splitlines()[-1])
    return str(error)
