"""What the operator makes of a pod as the API server gives it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from chatoperator.observed import pod
from chatoperator.reconcile.observe import LOST_AFTER_SECONDS, is_lost

GRACE_ENDS = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)


def raw(**metadata: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "demo-chatserver-a", "labels": {}, **metadata},
        "spec": {"nodeName": "node-2"},
        "status": {"containerStatuses": [{"started": True, "state": {"running": {}}}]},
    }


@pytest.mark.parametrize(
    ("seconds", "lost"), [(-50, False), (0, False), (LOST_AFTER_SECONDS, False), (LOST_AFTER_SECONDS + 1, True)]
)
def test_a_pod_that_outstays_its_grace_is_lost(seconds: float, *, lost: bool) -> None:
    leaving = raw(deletionTimestamp="2026-11-25T12:00:00Z")
    assert is_lost(leaving, GRACE_ENDS + dt.timedelta(seconds=seconds)) == lost
    assert pod(leaving).terminating


def test_a_lost_pod_names_its_node_and_what_can_be_done() -> None:
    leaving = raw(deletionTimestamp="2026-11-25T12:00:00Z")
    assert pod(leaving).trouble is None
    trouble = pod(leaving, lost=True).trouble
    assert trouble is not None
    assert "node-2" in trouble
    assert "delete the Node" in trouble


def test_a_pod_that_stays_is_not_lost_however_old() -> None:
    assert not is_lost(raw(), GRACE_ENDS + dt.timedelta(days=1000))
    assert not pod(raw()).terminating
