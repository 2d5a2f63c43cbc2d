"""Folders of the cache that are there as a whole or not at all, also where several runs make them."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Lend an empty folder, which takes the place of this one unless the block fails."""
    made = folder.with_name(f"{folder.name}.building-{os.getpid()}")
    made.mkdir(parents=True)
    try:
        yield made
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
