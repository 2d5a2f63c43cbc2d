"""The cache's folder of programs: each version has a folder of its own, which is there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from typing import TYPE_CHECKING

from localcluster.paths import cache_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from localcluster.progress import Stage


def folder() -> Path:
    """Where the programs lie."""
    return cache_root() / "bin"


@contextlib.contextmanager
def changing(stage: Stage) -> Iterator[None]:
    """Be the only command that adds programs; others wait, and then find them."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as lock:
        stage.detail = "waiting for what another command downloads or builds"
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def making(target: Path, versions: str) -> Iterator[Path]:
    """A folder to fill, which becomes `target` if all goes well; call it while `changing`.

    Args:
        target: in `folder()`.
        versions: a pattern of all versions' names. The others go, and so does what a killed command left.
    """
    pattern = re.compile(rf"{versions}(\.building-\d+)?")
    for entry in folder().iterdir():
        if pattern.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)
    building = target.with_name(f"{target.name}.building-{os.getpid()}")
    building.mkdir()
    try:
        yield building
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
