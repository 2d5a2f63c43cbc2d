"""`drill`: has the newest backup restored as a test now, and with --wait waits until the drill has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kubectl_chatcluster import requests
from kubectl_chatcluster.errors import NoDrills, NotDrilled
from kubectl_chatcluster.names import DRILL_ANNOTATION

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from kubectl_chatcluster.kubectl import Kubectl
    from kubectl_chatcluster.picture import Object


def drill(
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
        NoDrills: The ChatCluster has no drills, or its backups are suspended.
        NotDrilled: It failed, or had not ended when the time was over.
        KubectlError: A right is missing, or the cluster does not answer.
    """
    name = body["metadata"]["name"]
    _check(body)
    value = requests.named(now)
    requests.annotate(kubectl, body, DRILL_ANNOTATION, value)
    say("requested a restore drill")
    if timeout_seconds is None:
        return
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        made = requests.database_status(requests.live(kubectl, body), "backup")
        if made.get("answeredDrill") == value:
            _report(made, say)
            return
        time.sleep(requests.POLL_SECONDS)
    raise NotDrilled(
        f"the drill has not ended after {timeout_seconds:.0f} s. `kubectl chatcluster status {name}` says "
        f"what prevents it, and `kubectl chatcluster logs {name} --component backup` how far it is"
    )


def _check(body: Object) -> None:
    """Refuse what would never be answered.

    Raises:
        NoDrills: There are no drills, or none now.
    """
    name = body["metadata"]["name"]
    backup = ((body.get("spec") or {}).get("database") or {}).get("backup") or {}
    # An empty one has every default.
    if backup.get("drill") is None:
        raise NoDrills(f"ChatCluster {name} has no scratch volume for restore drills; set spec.database.backup.drill")
    if backup.get("suspended"):
        raise NoDrills(f"ChatCluster {name} makes no drills while spec.database.backup.suspended is true; remove it")


def _report(made: dict[str, Any], say: Callable[[str], None]) -> None:
    """Say how it ended.

    Raises:
        NotDrilled: It failed.
    """
    if made.get("lastDrillError"):
        raise NotDrilled(f"the drill failed: {made['lastDrillError']}")
    found = f"{made.get('lastDrillMessages', 'unknown')} messages"
    newest = made.get("lastDrillNewestMessageAt")
    latest = f", the newest of {newest}" if newest else ""
    say(f"the drill restored {found}{latest}, and found no damage; it took {made.get('lastDrillSeconds', '?')} s")
