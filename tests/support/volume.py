"""A volume that can be filled without harm: a small file system of its own, in memory."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

FILLING = "filling"


@contextlib.contextmanager
def small_volume(*, mebibytes: int) -> Iterator[Path]:
    """Mount one where every user may write; only root can."""
    with tempfile.TemporaryDirectory(prefix="chat-volume-") as folder:
        Path(folder).chmod(0o755)
        volume = Path(folder) / "volume"
        volume.mkdir()
        options = f"size={mebibytes}m,mode=1777"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(volume)], check=True)
        try:
            yield volume
        finally:
            subprocess.run(["umount", str(volume)], check=True)


def fill(volume: Path, *, leave_mebibytes: int) -> None:
    """Leave so much free; deleting the file FILLING makes room again."""
    found = os.statvfs(volume)
    left = found.f_bavail * found.f_frsize - leave_mebibytes * 1024 * 1024
    with (volume / FILLING).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, left)
