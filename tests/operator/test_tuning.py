"""PostgreSQL's settings from resources, and quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest

from chatoperator.api.quantity import number
from chatoperator.parts.database.parameters import restart_digest
from chatoperator.parts.database.statefulset import config_map, parameters
from chatoperator.parts.database.tuning import derive
from tests.support.chatclusters import cluster


@pytest.mark.parametrize(
    ("memory", "cpu", "volume", "buffers", "cache", "maintenance", "workers", "wal"),
    [
        ("64Mi", "100m", "256Mi", "32MB", "40MB", "16MB", "0", "64MB"),
        ("512Mi", "1", "1Gi", "128MB", "320MB", "32MB", "0", "96MB"),
        ("1Gi", "2", "10Gi", "256MB", "640MB", "64MB", "1", "1024MB"),
        ("4G", "2500m", "20G", "953MB", "2384MB", "238MB", "1", "1904MB"),
        ("16Gi", "8", "200Gi", "4096MB", "10240MB", "1024MB", "4", "4096MB"),
        ("256Gi", "64", "4Ti", "16384MB", "163840MB", "1024MB", "4", "4096MB"),
    ],
)
def test_settings_follow_the_resources(
    memory: str, cpu: str, volume: str, buffers: str, cache: str, maintenance: str, workers: str, wal: str
) -> None:
    made = derive(memory=memory, cpu=cpu, volume=volume)
    assert made["shared_buffers"] == buffers
    assert made["effective_cache_size"] == cache
    assert made["maintenance_work_mem"] == maintenance
    assert made["max_parallel_maintenance_workers"] == workers
    assert made["max_wal_size"] == made["min_wal_size"] == wal


def test_users_parameters_win() -> None:
    users = {"shared_buffers": "1GB", "jit": "on", "work_mem": "8MB"}
    made = parameters(cluster(database={"parameters": users}), volume_size="10Gi")
    assert made.items() >= users.items()
    assert made["effective_cache_size"] == "640MB"


def test_nothing_that_keeps_acknowledged_messages_is_derived() -> None:
    assert not {"synchronous_commit", "fsync", "full_page_writes"} & set(parameters(cluster(), volume_size="1Gi"))


def test_only_what_needs_a_restart_restarts() -> None:
    def digest_of(**users: str) -> str:
        return restart_digest(parameters(cluster(database={"parameters": users}), volume_size="10Gi"))

    assert digest_of() == digest_of(work_mem="8MB", max_wal_size="2GB")
    assert len({digest_of(), digest_of(shared_buffers="1GB"), digest_of(wal_level="logical")}) == 3
    bigger = parameters(cluster(), volume_size="20Gi")
    assert restart_digest(bigger) == digest_of(), "a volume that grows restarts nothing"


def test_the_revision_follows_the_text() -> None:
    def data(size: str) -> dict[str, str]:
        made: dict[str, str] = config_map(cluster(), parameters(cluster(), volume_size=size))["data"]
        return made

    small, large = data("10Gi"), data("20Gi")
    assert small["revision"] != large["revision"]
    assert small == data("10Gi")


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("1", 1), ("500m", "0.5"), ("1.5", "1.5"), ("1e3", 1000), ("2E2", 200), ("1Ki", 1024), ("1k", 1000),
        ("1Gi", 2**30), ("1G", 10**9), ("1.5Gi", 3 * 2**29), ("4Ti", 2**42), (".5", "0.5"), ("1E", 10**18),
    ],
)  # fmt: skip
def test_quantities(quantity: str, expected: int | str) -> None:
    assert number(quantity) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "1GB", "one", "-1", "1 Gi x", "1ee3"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        number(text)
