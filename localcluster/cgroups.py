"""The private engine's cgroups: found by their name in every hierarchy, removed when the engine is gone."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from localcluster.progress import LocalClusterError

CGROUP_ROOT = Path("/sys/fs/cgroup")

REMOVE_SECONDS = 20
"""Seconds until the kernel has let go of killed processes' cgroups; usually well under one."""


def is_version_2(root: Path = CGROUP_ROOT) -> bool:
    """Whether the machine has the unified hierarchy only."""
    return (root / "cgroup.controllers").is_file()


def folders(name: str, root: Path = CGROUP_ROOT) -> list[Path]:
    """The cgroup's folder in every hierarchy that has one."""
    bases = [root, *(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())]
    return [base / name for base in bases if (base / name).is_dir()] if root.is_dir() else []


def remove_cgroups(name: str) -> None:
    """Remove the cgroup with all below it.

    Raises:
        LocalClusterError: processes still live in it.
    """
    until = time.monotonic() + REMOVE_SECONDS
    while left := folders(name):
        for folder in left:
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    Path(path).rmdir()
        if not folders(name):
            return
        if time.monotonic() >= until:
            raise LocalClusterError(f"cgroup {left[0]} is in use", remedy=f"look at {left[0]}/cgroup.procs")
        time.sleep(0.1)
