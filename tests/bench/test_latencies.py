"""Histograms that are merged are those of all values."""

from hypothesis import given
from hypothesis import strategies as st

from bench import latencies

values = st.lists(st.integers(1, latencies.HIGHEST_US), max_size=50)


@given(parts=st.lists(values, min_size=1, max_size=4))
def test_merged_histograms_are_that_of_all_values(parts: list[list[int]]) -> None:
    merged = latencies.merge(map(latencies.encode, parts))
    everything = [value for part in parts for value in part]
    assert latencies.count(merged) == len(everything)
    assert latencies.percentiles(merged) == latencies.percentiles(latencies.encode(everything))


def test_percentiles_are_milliseconds_of_the_values_at_their_places() -> None:
    found = latencies.percentiles(latencies.encode(range(1000, 1001_000, 1000)))
    for name, milliseconds in {"p50": 500, "p99": 990, "p99.9": 999, "max": 1000}.items():
        assert abs(found[name] / milliseconds - 1) <= 0.001


def test_a_value_out_of_range_counts_at_the_end_of_the_range() -> None:
    found = latencies.percentiles(latencies.encode([-5, 0, latencies.HIGHEST_US * 2]))
    assert found["p50"] == 0.001
    assert abs(found["max"] / (latencies.HIGHEST_US / 1000) - 1) <= 0.001


def test_an_empty_histogram_is_read_as_zeros() -> None:
    assert set(latencies.percentiles(latencies.encode([])).values()) == {0.0}
