"""The page of metrics: what is counted is on it, and making it leaves the event loop its turns."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder

from chatserver.metrics import Metrics
from chatserver.metrics.instruments import Exemplar, Families
from chatserver.metrics.page import SLICE_SERIES, make_registry

open_metrics = choose_encoder("application/openmetrics-text; version=1.0.0")[0]


def full() -> Families:
    """Families with as many series as a server has that has seen every route, and more."""
    families = Families()
    seconds = families.histograms("seconds", "", ["route"], [0.1, 1, 10])
    for number in range(500):
        seconds.labels(str(number)).observe(1)
    requests = families.counters("requests", "", ["route"])
    for number in range(500):
        requests.labels(str(number)).inc(number)
    return families


@pytest.mark.parametrize("render", [generate_latest, open_metrics])
def test_the_event_loop_gets_its_turn_after_every_few_series(render: object) -> None:
    families, lines_at_pause = full(), [0]
    registry = make_registry(families, pause=lambda: lines_at_pause.append(1))
    page = render(registry).decode()  # type: ignore[operator] # one of two functions
    series = [line for line in page.splitlines() if line.startswith(("seconds", "requests"))]
    assert len(series) == 500 * 6 + 500
    assert len(lines_at_pause) - 1 >= len(series) / SLICE_SERIES


def test_a_page_of_some_metrics_makes_only_these() -> None:
    pauses: list[int] = []
    registry = make_registry(full(), pause=lambda: pauses.append(1))
    page = generate_latest(registry.restricted_registry(["requests_total"])).decode()
    assert {line.split("{")[0] for line in page.splitlines() if not line.startswith("#")} == {"requests_total"}
    assert len(pauses) == -(-500 // SLICE_SERIES)


def test_a_histogram_is_cumulative_and_has_its_newest_exemplar_in_openmetrics_alone() -> None:
    families = Families()
    seconds = families.histogram("seconds", "how long", (0.1, 1))
    for value, label in ((0.1, "a"), (0.5, "b"), (0.7, "c"), (7, "d")):
        seconds.observe(value)
        seconds.keep_exemplar(Exemplar({"request_id": label}, value, 1.5))
    registry = make_registry(families)
    plain = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("seconds")]
    assert plain == [
        'seconds_bucket{le="0.1"} 1.0',
        'seconds_bucket{le="1.0"} 3.0',
        'seconds_bucket{le="+Inf"} 4.0',
        "seconds_count 4.0",
        "seconds_sum 8.3",
    ]
    rich = open_metrics(registry).decode()
    assert 'seconds_bucket{le="1.0"} 3.0 # {request_id="c"} 0.7 1.5' in rich
    assert rich.count("# {") == 3, "one for each bucket, however many sends were slow"


def test_what_a_rule_compares_is_on_the_first_page() -> None:
    page = generate_latest(Metrics().registry).decode()
    for series in (
        'chatserver_send_seconds_count{result="unavailable"} 0.0',
        'chatserver_connections_opened_total{result="full"} 0.0',
        'chatserver_connections_closed_total{code="4008",reason="slow_reader"} 0.0',
        'chatserver_database_call_seconds_count{call="store",result="failed"} 0.0',
        "chatserver_bus_losses_total 0.0",
        "chatserver_drain_deadline_timestamp_seconds 0.0",
    ):
        assert series in page
    assert "_created" not in page


def test_a_name_is_declared_once() -> None:
    families = Families()
    families.counter("requests", "")
    with pytest.raises(ValueError, match="declared twice"):
        families.gauge("requests", "")
