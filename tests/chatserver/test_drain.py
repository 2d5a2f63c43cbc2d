"""Spreading a leaving server's clients."""

from hypothesis import given
from hypothesis import strategies as st

from chatserver.fleet.drain import reconnect_delays_ms


@given(st.integers(0, 300), st.floats(0, 60), st.randoms(use_true_random=False))
def test_clients_leave_within_the_window_each_in_a_slice_of_its_own(count: int, window: float, random: object) -> None:
    values = [random.random() for _ in range(count)]  # type: ignore[attr-defined]
    delays = reconnect_delays_ms(count, window, values)
    assert len(delays) == count
    for place, delay in enumerate(delays):
        # Whole milliseconds, of floats.
        assert place * window * 1000 / count - 1 <= delay <= (place + 1) * window * 1000 / count + 1


def test_no_time_left_means_at_once() -> None:
    assert reconnect_delays_ms(2, 0, [0.5, 0.9]) == [0, 0]
