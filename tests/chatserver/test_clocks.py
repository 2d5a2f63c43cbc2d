"""The database's clock is known as exactly as the quickest probe was, whatever the own wall clock shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatserver.fanout.clock import PROBES, DatabaseClock

SECONDS = st.floats(0, 0.5)


@given(st.floats(1e9, 2e9), st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=PROBES))
def test_a_time_is_off_by_half_of_the_quickest_probe_at_most(origin: float, trips: list[tuple[float, float]]) -> None:
    clock, now = DatabaseClock(), 5.0
    assert clock.monotonic(0) is None
    for there, back in trips:
        clock.probed(origin + now + there, sent_at=now, received_at=now + there + back)
        now += 2 + there + back
    quickest = min(there + back for there, back in trips)
    found = clock.monotonic(int((origin + 3.0) * 1_000_000))
    assert found is not None
    assert abs(found - 3.0) <= quickest / 2 + 1e-5
    # The own wall clock is an hour behind.
    ahead = clock.ahead_seconds(wall=origin + now - 3600, monotonic=now)
    assert abs(ahead - 3600) <= quickest / 2 + 1e-5


def test_another_database_has_another_clock() -> None:
    clock = DatabaseClock()
    clock.probed(1000.0, sent_at=0.0, received_at=0.001)
    clock.forget()
    clock.probed(2000.0, sent_at=1.0, received_at=1.5)
    assert clock.monotonic(2_000_000_000) == 1.25
