"""`backup`: has a backup of the database made now, and with --wait waits until it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kubectl_chatcluster import requests
from kubectl_chatcluster.errors import NotBackedUp
from kubectl_chatcluster.names import BACKUP_ANNOTATION

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from kubectl_chatcluster.kubectl import Kubectl
    from kubectl_chatcluster.picture import Object


def back_up(
    kubectl: Kubectl,
    body: Object,
    *,
    timeout_seconds: float | None,
    now: dt.datetime,
    say: Callable[[str], None],
) -> None:
    """Request it of the operator by an annotation.

    Args:
        kubectl: The cluster.
        body: The ChatCluster.
        timeout_seconds: How long to wait until it has ended; None not to wait.
        now: The time with its zone, which makes this request another one than the last.
        say: Gets each line of progress.

    Raises:
        NoBackups: The ChatCluster has no repository.
        NotBackedUp: It failed, or had not ended when the time was over.
        KubectlError: A right is missing, or the cluster does not answer.
    """
    name = body["metadata"]["name"]
    requests.backup_spec(body)
    value = requests.named(now)
    requests.annotate(kubectl, body, BACKUP_ANNOTATION, value)
    say("requested a backup of the database")
    if timeout_seconds is None:
        return
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        made = requests.database_status(requests.live(kubectl, body), "backup")
        if made.get("answeredRequest") == value:
            _report(made, say)
            return
        time.sleep(requests.POLL_SECONDS)
    raise NotBackedUp(
        f"the backup has not ended after {timeout_seconds:.0f} s. `kubectl chatcluster status {name}` says "
        f"what prevents it, and `kubectl chatcluster logs {name} --component backup` how far it is"
    )


def _report(made: dict[str, Any], say: Callable[[str], None]) -> None:
    """Say how it ended.

    Raises:
        NotBackedUp: It failed.
    """
    if made.get("lastError"):
        raise NotBackedUp(f"the backup failed: {made['lastError']}")
    say(f"the backup ({made.get('lastBackupType', 'type unknown')}) ended at {made.get('lastBackupAt', 'unknown')}")
