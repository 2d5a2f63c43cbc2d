"""`switchover`: has another instance of the database lead, and waits until it does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kubectl_chatcluster import requests
from kubectl_chatcluster.errors import NotSwitched, SingleDatabase
from kubectl_chatcluster.names import SWITCHOVER_ANNOTATION

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from kubectl_chatcluster.kubectl import Kubectl
    from kubectl_chatcluster.picture import Object

POLL_SECONDS = 1
"""Between two looks at the status."""


def switch(
    kubectl: Kubectl,
    body: Object,
    *,
    instance: int | None,
    timeout_seconds: float,
    now: dt.datetime,
    say: Callable[[str], None],
) -> None:
    """Request it of the operator by an annotation, and wait.

    Args:
        kubectl: The cluster.
        body: The ChatCluster.
        instance: Number of the instance that is to lead; None for the best one.
        timeout_seconds: How long to wait.
        now: The time with its zone, which makes this request another one than the last.
        say: Gets each line of progress.

    Raises:
        SingleDatabase: There is nobody to switch to.
        NotSwitched: The same instance still led when the time was over.
        KubectlError: A right is missing, or the cluster does not answer.
    """
    name, before = body["metadata"]["name"], leader(body)
    requests.annotate(kubectl, body, SWITCHOVER_ANNOTATION, request(now, instance))
    say(f"requested a switchover of the database; {before} leads")
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        found = leader(requests.live(kubectl, body))
        if found not in (None, before):
            say(f"{found} leads")
            return
        time.sleep(POLL_SECONDS)
    raise NotSwitched(
        f"{before} still leads after {timeout_seconds:.0f} s. `kubectl chatcluster status {name}` shows "
        "which instances are ready: an instance that is not cannot become the leader"
    )


def leader(body: Object) -> str | None:
    """The pod that leads, as status has it; None while none does.

    Raises:
        SingleDatabase: The database has one instance, or is external.
    """
    database: dict[str, Any] | None = (body.get("status") or {}).get("database")
    if not database or len(database.get("instances") or ()) < 2:  # noqa: PLR2004 - one and another
        raise SingleDatabase(
            f"the database of ChatCluster {body['metadata']['name']} has only one instance that the operator runs; "
            "set spec.database.instances to 2 or more"
        )
    return database.get("leader") or None


def request(now: dt.datetime, instance: int | None) -> str:
    """Value of the annotation: 2026-11-30T12.00.00Z, and with an instance 2026-11-30T12.00.00Z/2."""
    at = requests.named(now)
    return at if instance is None else f"{at}/{instance}"
