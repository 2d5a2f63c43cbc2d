"""Measured costs that the simulation is fed with, each with its source. Pure.

A source `latest.md` is docs/benchmarks/latest.md with its section. `2026-11-29` are experiments of that day on the same
kind of machine, which docs/scale-out.md describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Points = tuple[tuple[float, float], ...]
"""A measured curve: (x, y), x ascending."""


@dataclass(frozen=True)
class Costs:
    """CPU in microseconds unless a name says otherwise."""

    batch_cpu: Points = ((1, 600), (4, 800), (16, 1330))
    """CPU of the database for one warm `store_messages()` by its rows (2026-11-29)."""

    further_row_cpu: float = 24
    """CPU of the database for each row above the last of these points: at the highest rate (latest.md, C)."""

    commit_milliseconds: float = 0.37
    """A bare commit, the median (latest.md, the physical limit)."""

    batch_rows_most: int = 128
    """Rows that a batch takes at most (messaging/writer.py)."""

    server_cpu: Points = ((500, 523), (1000, 410), (2000, 239), (5000, 100), (10580, 61), (21161, 33))
    """CPU of a server for each message by its messages a second (latest.md, B and C)."""

    notify_cpu: Points = ((2, 375), (4, 388), (16, 832), (64, 2110))
    """CPU of the database and of all listeners for one NOTIFY by the number of listeners (2026-11-29)."""

    publish_cpu: float = 31
    """CPU of Valkey for one hint to one server, of 64 (2026-11-29)."""

    receive_cpu: float = 76
    """CPU of the server that gets it (2026-11-29)."""

    proxy_cpu: float = 142
    """CPU of HAProxy with TLS for each message, with its acknowledgement and one delivery (latest.md, H)."""

    proxy_kib: float = 29.8
    """Memory of HAProxy for each connection (latest.md, H)."""

    proxy_connections: int = 10_000
    """Connections of one HAProxy process: two descriptors each, of 20,000."""

    server_kib: float = 15.6
    """Memory of a server for each connection (latest.md, H)."""

    handshake_cpu: tuple[float, float, float] = (787, 122, 805)
    """CPU of server, database and proxy for each new connection (latest.md, H)."""

    wal_batch_bytes: float = 212
    """Bytes of WAL for each batch, with its hint (tests/integration/test_wal.py)."""

    wal_row_bytes: float = 605
    """Bytes of WAL for each message of it, of 60 characters, without full-page images (the same)."""

    wal_first_bytes: float = 8900
    """Bytes of WAL for a message alone whose chat's pages nobody touched since the last checkpoint, with lz4."""


def wal_bytes(costs: Costs, rows: float) -> float:
    """Return the bytes of WAL for each message of batches of so many rows, without full-page images."""
    return costs.wal_batch_bytes / rows + costs.wal_row_bytes


def interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    """Return y between the two points around x; below the first, its y; above the last, along the last two.

    Example:
        >>> [interpolated(((1, 600), (4, 800)), x) for x in (0, 1, 2.5, 7)]
        [600, 600.0, 700.0, 1000.0]
    """
    if x < points[0][0]:
        return points[0][1]
    pairs = list(pairwise(points))
    (x0, y0), (x1, y1) = next((pair for pair in pairs if x <= pair[1][0]), pairs[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def batch_cpu(costs: Costs, rows: int) -> float:
    """Return the CPU of the database for a batch of so many rows."""
    last, cpu = costs.batch_cpu[-1]
    return interpolated(costs.batch_cpu, rows) if rows <= last else cpu + (rows - last) * costs.further_row_cpu
