"""The end-to-end tests share one cluster, and one loop."""

import pytest

from tests.support.alerts import watched
from tests.support.chatinstances import instances
from tests.support.madecluster import UP_SECONDS, bus, cluster, made, nodes

__all__ = ["bus", "cluster", "instances", "made", "nodes", "watched"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run this folder's tests on one loop: they share the cluster."""
    for item in items:
        if "/tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            # In front of the mark for a loop of the test's own, which every test has in auto mode.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            # The first one may have to wait for a cluster to be built.
            item.add_marker(pytest.mark.timeout(UP_SECONDS + 900))
