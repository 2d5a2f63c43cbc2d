"""Upper bounds of the histograms' buckets, in seconds and rows; rules name some of them, so that they stay."""

from __future__ import annotations

from typing import Final

LATENCY_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Milliseconds when healthy; 5 s when the bus is lost, 10 s when a send waits as long as it may."""

REQUEST_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Long polls are not measured: they may take a minute without being slow."""

STALL_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Waits that are nearly nothing unless something is full or blocked."""

BATCH_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""Rows of one write, up to the largest batch."""
