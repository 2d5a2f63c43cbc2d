"""One step of `make up` that runs beside the others: downloads of the one fill the pauses of the other."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from localcluster import process
from localcluster.lock import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from localcluster.paths import ClusterPaths

STOP_SECONDS = 1
"""Seconds between looks for programs of a step that is being stopped: it may have started another one."""


@contextlib.contextmanager
def running(step: Callable[[], None] | None, paths: ClusterPaths) -> Iterator[None]:
    """Run a step in a thread beside the block, and wait for its end; if the block fails, its programs are stopped.

    Args:
        step: runs programs with the mark of `lock.acquire`; None: nothing runs beside the block.
        paths: the cluster, which this process has locked.

    Raises:
        Exception: what the step raised.
    """
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            if step is not None:
                step()
        except Exception as e:  # noqa: BLE001 -- raised again below, in the thread that can act on it
            failures.append(e)

    thread = threading.Thread(target=attempt, name="beside")
    thread.start()
    try:
        yield
    except BaseException:
        while thread.is_alive():
            process.end(process.find_by_environment(MARK, str(paths.state)), grace_seconds=STOP_SECONDS)
            thread.join(STOP_SECONDS)
        raise
    thread.join()
    for failure in failures:
        raise failure
