"""What follows from a ChatCluster's figures: a server's cap, and its share of the database's connections."""

from __future__ import annotations

import pytest

from chatoperator.api.chatserver import surge
from tests.support.chatclusters import cluster


@pytest.mark.parametrize(("target", "cap"), [(1, 12_500), (3, 12_500), (10_000, 12_500), (10_001, 25_000)])
def test_a_lowered_target_keeps_the_cap_that_is_in_the_pod_template(target: int, cap: int) -> None:
    assert cluster(chatserver={"targetConnectionsPerServer": target}).chatserver.max_connections == cap


@pytest.mark.parametrize(
    ("registry", "image", "pulled"),
    [
        (None, "one.example.com/a/chat:1", "one.example.com/a/chat:1"),
        ("two.example.com:5000/b/", "one.example.com/a/chat:1", "two.example.com:5000/b/chat:1"),
        ("two.example.com/", "chat:1", "two.example.com/chat:1"),
        ("two.example.com/", "one.example.com/chat@sha256:00", "two.example.com/chat@sha256:00"),
    ],
)
def test_a_registry_takes_the_place_of_the_charts(registry: str | None, image: str, pulled: str) -> None:
    assert cluster(images={"registry": registry}).images.of(image) == pulled


@pytest.mark.parametrize(("ceiling", "pool"), [(2, 16), (10, 16), (16, 10), (50, 2)])
def test_all_pools_together_stay_within_the_budget(ceiling: int, pool: int) -> None:
    made = cluster(chatserver={"scaling": {"minReplicas": 1, "maxReplicas": ceiling}})
    assert made.pool_size == pool
    most_servers = ceiling + 2 * surge(ceiling)
    assert most_servers * (made.pool_size + 1) <= made.database.connection_budget


def test_external_mode_is_budgeted_for_the_number_that_was_set() -> None:
    made = cluster(chatserver={"scaling": {"mode": "External", "replicas": 40, "maxReplicas": 10}})
    assert made.chatserver.scaling.ceiling == 40
    assert made.pool_size < cluster().pool_size
