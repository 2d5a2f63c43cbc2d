"""PostgreSQL's settings from what its container may use: docs/operations/database.md has the reasons. Pure.

The same resources give the same settings in every release, unless a release says otherwise: some of them restart the
database.
"""

from __future__ import annotations

from decimal import Decimal

from chatoperator.api.quantity import number

MIB = 1024 * 1024

BUFFERS_MIB_MIN, BUFFERS_MIB_MAX = 32, 16 * 1024
"""Of shared_buffers; beyond, the kernel's own cache does as well and checkpoints get heavier."""

MAINTENANCE_MIB_MIN, MAINTENANCE_MIB_MAX = 16, 1024
"""Of maintenance_work_mem, which each of three autovacuum workers may take."""

WAL_PER_VOLUME = Decimal("0.1")
WAL_MIB_MIN, WAL_MIB_MAX = 64, 4096
"""Of max_wal_size: a tenth of the volume. Crash recovery replays at most that: 4 GiB in less than a minute."""

SEGMENT_MIB = 16
"""One file of WAL."""

MAINTENANCE_WORKERS_MAX = 4

FIXED = {
    # WAL is written at a steady pace, and pages are logged whole once in fifteen minutes rather than in five.
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Pages that are logged whole get a third as large, for some microseconds each.
    "wal_compression": "lz4",
    # Index lookups on a disk without a moving head. The chatservers need no other plans.
    "random_page_cost": "1.1",
    "effective_io_concurrency": "200",
    # A send is one index lookup a chat: workers and compiled expressions would only add their own start.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # Chats, memberships and receipts are updated in place all day: little and often, and at a disk's pace of today.
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.1",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_limit": "2000",
}


def derive(*, memory: str, cpu: str, volume: str) -> dict[str, str]:
    """Lines of postgresql.conf for a container and its volume.

    Example: 1Gi of memory, 2 cores, a volume of 10Gi -> shared_buffers 256MB, effective_cache_size 640MB, 1 GiB of WAL.

    Args:
        memory: The container's limit, a quantity such as 1Gi.
        cpu: The container's limit, a quantity such as 500m.
        volume: The volume's size, a quantity.

    Raises:
        ValueError: One of them is no quantity.
    """
    memory_mib, volume_mib = number(memory) / MIB, number(volume) / MIB
    wal = _between(WAL_MIB_MIN, volume_mib * WAL_PER_VOLUME, WAL_MIB_MAX) // SEGMENT_MIB * SEGMENT_MIB
    return {
        **FIXED,
        "shared_buffers": f"{_between(BUFFERS_MIB_MIN, memory_mib / 4, BUFFERS_MIB_MAX)}MB",
        # What the kernel caches of the files counts as the container's memory too.
        "effective_cache_size": f"{_between(BUFFERS_MIB_MIN, memory_mib * 5 / 8, 1024 * 1024)}MB",
        "maintenance_work_mem": f"{_between(MAINTENANCE_MIB_MIN, memory_mib / 16, MAINTENANCE_MIB_MAX)}MB",
        "max_parallel_maintenance_workers": str(_between(0, number(cpu) / 2, MAINTENANCE_WORKERS_MAX)),
        # The same, so that WAL keeps the space that it has once had: on a full volume PostgreSQL refuses what needs
        # more room, but continues.
        "max_wal_size": f"{wal}MB",
        "min_wal_size": f"{wal}MB",
    }


def _between(least: int, desired: Decimal, most: int) -> int:
    return max(least, min(int(desired), most))
