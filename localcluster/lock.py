"""One `up` or `down` at a time for each cluster, and the mark by which their child processes are found."""

from __future__ import annotations

import atexit
import fcntl
import os
import time
from typing import TYPE_CHECKING, TextIO

from localcluster import process
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from localcluster.paths import ClusterPaths

MARK = "CHATCLUSTER_STEP_OF"
"""Environment variable of every program that a command of this package runs: the cluster's state folder."""

TAKE_OVER_SECONDS = 10


def acquire(paths: ClusterPaths, *, take_over: bool) -> None:
    """Become the only process that works on this cluster, and end what a killed predecessor left running.

    Args:
        paths: the cluster.
        take_over: end a process that works on it (`down` does), instead of giving up.

    Raises:
        LocalClusterError: another one works on it.
    """
    paths.root.mkdir(parents=True, exist_ok=True)
    # "a+": it may hold the id of another process.
    lock = (paths.root / f"{paths.name}.lock").open("a+")
    if not _try(lock):
        if not take_over:
            lock.close()
            raise LocalClusterError(
                f"another `make up` or `make down` works on cluster {paths.name}",
                remedy="wait for it, or `make down` ends it",
            )
        lock.seek(0)
        _end_holder(lock.read())
        until = time.monotonic() + TAKE_OVER_SECONDS
        while not _try(lock):
            if time.monotonic() >= until:
                raise LocalClusterError(
                    f"another process keeps cluster {paths.name} locked", remedy=f"`fuser {lock.name}`"
                )
            time.sleep(0.1)
    own = process.inspect(os.getpid())
    lock.truncate(0)
    lock.write(f"{os.getpid()} {own.start_ticks if own else 0}")
    lock.flush()
    # Kept open until then; the kernel releases it too, however this process ends.
    atexit.register(lock.close)
    os.environ[MARK] = str(paths.state)
    # kind, docker, go or mmdebstrap of a killed `make up`: orphans by now, and about to interfere.
    process.end(process.find_by_environment(MARK, str(paths.state)), grace_seconds=2)


def _try(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_holder(written: str) -> None:
    pid, _, start_ticks = written.partition(" ")
    holder = process.inspect(int(pid)) if pid.isdigit() else None
    if holder is not None and str(holder.start_ticks) == start_ticks:
        process.end([holder], grace_seconds=3)
