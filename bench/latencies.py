"""Histograms of microseconds: recorded in the generator processes, merged exactly, and read at percentiles."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable

HIGHEST_US = 600_000_000
"""Ten minutes: longer than any load."""

DIGITS = 3
"""Significant digits: the error of a value is at most 0.1 %."""

PERCENTILES = (50, 99, 99.9)


def encode(values_us: Iterable[int]) -> str:
    """Return a histogram of values as text."""
    histogram = HdrHistogram(1, HIGHEST_US, DIGITS)
    for value, count in Counter(values_us).items():
        histogram.record_value(min(max(1, value), HIGHEST_US), count)
    return cast("str", histogram.encode().decode())


def merge(encoded: Iterable[str]) -> str:
    """Return the histogram of all values of several: the same as if one process had recorded them."""
    histogram = HdrHistogram(1, HIGHEST_US, DIGITS)
    for text in encoded:
        histogram.decode_and_add(text.encode())
    return cast("str", histogram.encode().decode())


def count(encoded: str) -> int:
    """Return the number of values in a histogram."""
    return cast("int", HdrHistogram.decode(encoded.encode()).get_total_count())


def percentiles(encoded: str) -> dict[str, float]:
    """Return milliseconds at the usual percentiles: ``{"p50": 1.2, "p99": 4.7, "p99.9": 9.1, "max": 12.0}``."""
    histogram = HdrHistogram.decode(encoded.encode())
    places = {f"p{place:g}": histogram.get_value_at_percentile(place) / 1000 for place in PERCENTILES}
    return places | {"max": histogram.get_max_value() / 1000}
