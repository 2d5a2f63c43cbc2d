"""The end-to-end tests share one cluster, and one loop."""

import pytest

from tests.support.madecluster import UP_SECONDS, cluster, made, nodes

__all__ = ["cluster", "made", "nodes"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run this folder's tests on one loop: they share the cluster."""
    for item in items:
        if "/tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"))
            # The first one may have to wait for a cluster to be built.
            item.add_marker(pytest.mark.timeout(UP_SECONDS + 900))
