"""Cases for monitoring/rules/chatservers.py."""

from tests.support.rulecases import Case, Signal, counter, gauge

OPENED = 'chatserver_connections_opened_total{result="accepted", pod="a"}'
SLOW_CLOSES = 'chatserver_connections_closed_total{code="4008", reason="slow_reader", pod="a"}'
OTHER_CLOSES = 'chatserver_connections_closed_total{code="0", reason="network", pod="a"}'


def histogram(name: str, slow: float, pod: str = "a") -> dict[str, Signal]:
    """A thousand events in each step, all within 10 ms when healthy; in a fault 5 % take `slow` seconds, or 0.5 %."""
    bounds = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
    made = {f'{name}_bucket{{le="{le}", pod="{pod}"}}': _bucket(le < slow) for le in bounds}
    return {**made, f'{name}_bucket{{le="+Inf", pod="{pod}"}}': counter(1000, 1000)}


def _bucket(without_slow: bool) -> Signal:  # noqa: FBT001 - one of two kinds of buckets
    return counter(1000, 950, 995) if without_slow else counter(1000, 1000)


def connections(a: float, near: float) -> dict[str, Signal]:
    return {
        'chatserver_connections{pod="a"}': gauge(500, a, near),
        'chatserver_connections{pod="b"}': gauge(500, 500),
        'chatserver_connections{pod="c"}': gauge(500, 500),
    }


CASES = [
    Case(
        "ChatBusLost",
        ("ticket",),
        {'chatserver_bus_connected{pod="a"}': gauge(1, 1), 'chatserver_bus_connected{pod="b"}': gauge(1, 0)},
        brief=1,
    ),
    # Lost again and again, between two scrapes; one restart of PostgreSQL costs each server one.
    Case(
        "ChatBusLost",
        ("ticket",),
        {
            'chatserver_bus_losses_total{pod="a"}': counter(0, 1, 0.1),
            'chatserver_bus_losses_total{pod="b"}': counter(0, 0, 0.1),
        },
        steps=(20, 10, 40),
    ),
    Case(
        "ChatNotificationsLost",
        ("ticket",),
        {
            'chatserver_gaps_healed_total{pod="a"}': counter(0, 3, 3),
            'chatserver_bus_losses_total{pod="b"}': counter(0, 0, 1),
            'chatserver_bus_connected{pod="a"}': gauge(1, 1),
        },
        steps=(20, 10, 30),
    ),
    Case(
        "ChatBusGaps",
        ("ticket",),
        {
            'chatserver_bus_gaps_total{pod="a"}': counter(0, 1, 0),
            'chatserver_bus_gaps_total{pod="b"}': counter(0, 0, 0.125),
            'chatserver_bus_connected{pod="a"}': gauge(1, 1),
        },
        steps=(20, 20, 40),
    ),
    Case(
        "ChatLimitsNotShared",
        ("ticket",),
        {
            'chatserver_limits_shared{pod="a"}': gauge(1, 1),
            'chatserver_limits_shared{pod="b"}': gauge(1, 0),
            'chatserver_bus_connected{pod="b"}': gauge(1, 1),
        },
        brief=4,
    ),
    # Whoever is not connected to Valkey is another alert's.
    Case(
        "ChatLimitsNotShared",
        ("ticket",),
        {
            'chatserver_limits_shared{pod="a"}': gauge(1, 0, 0),
            'chatserver_bus_connected{pod="a"}': gauge(1, 1, 0),
        },
    ),
    Case(
        "ChatBusMemory",
        ("ticket",),
        {
            'valkey_memory_used_bytes{pod="v"}': gauge(50, 90, 60),
            'valkey_memory_max_bytes{pod="v"}': gauge(100, 100),
            'valkey_memory_used_bytes{pod="w"}': gauge(50, 50),
            'valkey_memory_max_bytes{pod="w"}': gauge(0, 0),
        },
        labels={"pod": "v"},
    ),
    Case("ChatClockSkew", ("ticket",), {'chatserver_clock_offset_seconds{pod="a"}': gauge(0.01, -2, -0.3)}),
    Case("ChatWritesQueue", ("ticket",), histogram("chatserver_write_wait_seconds", 0.5)),
    Case("ChatPoolWaits", ("ticket",), histogram("chatserver_database_acquire_seconds", 0.25)),
    Case(
        "ChatEventLoopLags",
        ("ticket",),
        histogram("chatserver_event_loop_lag_seconds", 0.5, pod="b"),
        labels={"pod": "b"},
    ),
    Case(
        "ChatReadersSlow",
        ("ticket",),
        {
            SLOW_CLOSES: counter(0, 2, 0),
            OTHER_CLOSES: counter(2, 2, 20),
            'chatserver_connections{pod="a"}': gauge(500, 500),
        },
        steps=(20, 20, 80),
    ),
    Case(
        "ChatReadersSlow",
        ("ticket",),
        {'chatserver_slow_readers{pod="a"}': gauge(0, 50, 10), 'chatserver_connections{pod="a"}': gauge(500, 500)},
    ),
    *(
        Case(
            "ChatCodesFail",
            ("ticket",),
            {
                f'chatserver_codes_total{{result="{result}", pod="a"}}': counter(0, 2, 0.1),
                'chatserver_codes_total{result="sent", pod="a"}': counter(10, 10),
            },
        )
        for result in ("failed", "refused")
    ),
    Case("ChatCodesFail", ("ticket",), {'chatserver_code_oldest_seconds{pod="a"}': gauge(0, 90, 30)}),
    Case("ChatExpiryLate", ("ticket",), {'chatserver_expiry_lag_seconds{pod="a"}': gauge(0, 7200, 1800)}),
    Case(
        "ChatReconnectStorm",
        ("ticket",),
        {OPENED: counter(10, 200, 30), 'chatserver_connections{pod="a"}': gauge(500, 500)},
    ),
    # A few clients that come and go are no storm.
    Case(
        "ChatReconnectStorm",
        ("ticket",),
        {OPENED: counter(1, 50, 10), 'chatserver_connections{pod="a"}': gauge(5, 5)},
    ),
    Case("ChatReconnectStorm", ("ticket",), histogram("chatserver_handshake_wait_seconds", 2.5)),
    Case("ChatConnectionsUneven", ("ticket",), connections(2000, 700), steps=(20, 30, 30)),
    Case(
        "ChatServerNearLimit",
        ("ticket",),
        {'process_cpu_seconds_total{component="chatserver", pod="a"}': counter(20, 57, 40)},
        labels={"pod": "a", "resource": "cpu"},
    ),
    Case(
        "ChatServerNearLimit",
        ("ticket",),
        {
            'process_open_fds{component="chatserver", pod="a"}': gauge(100, 900, 700),
            'process_max_fds{component="chatserver", pod="a"}': gauge(1000, 1000),
            'process_open_fds{component="operator", pod="o"}': gauge(900, 900),
            'process_max_fds{component="operator", pod="o"}': gauge(1000, 1000),
        },
        labels={"pod": "a", "resource": "files"},
    ),
    Case(
        "ChatServerNearLimit",
        ("ticket",),
        {'chatserver_connections_opened_total{result="full", pod="a"}': counter(0, 3, 0), OPENED: counter(3, 3, 300)},
        labels={"pod": "a", "resource": "connections"},
    ),
    Case(
        "ChatServerNearLimit",
        ("ticket",),
        # As cAdvisor names its series: without the chat.
        {
            'chatserver_draining{namespace="chat", chatcluster="demo", pod="a"}': gauge(0, 0),
            'container_memory_working_set_bytes{namespace="chat", pod="a", container="chatserver"}': gauge(
                2e8, 9e8, 7e8
            ),
            'container_spec_memory_limit_bytes{namespace="chat", pod="a", container="chatserver"}': gauge(1e9, 1e9),
            # Of the container before a restart: kubelet's series have times of their own, so they stay for minutes.
            'container_memory_working_set_bytes{namespace="chat", pod="a", container="chatserver", id="1"}': gauge(
                1e8, 1e8
            ),
            'container_spec_memory_limit_bytes{namespace="chat", pod="a", container="chatserver", id="1"}': gauge(
                1e9, 1e9
            ),
            'container_memory_working_set_bytes{namespace="chat", pod="a", container="other"}': gauge(1, 1),
        },
        labels={"namespace": "chat", "chatcluster": "demo", "pod": "a", "resource": "memory"},
        of_a_chat=False,
    ),
    Case(
        "ChatServersRestart",
        ("ticket",),
        {
            'process_start_time_seconds{component="chatserver", pod="a"}': counter(0, 1, 0),
            'process_start_time_seconds{component="operator", pod="o"}': counter(0, 1, 1),
        },
        labels={"pod": "a"},
        steps=(20, 10, 70),
    ),
    Case(
        "ChatDefects",
        ("ticket",),
        {
            'chatserver_defects_total{event="loop_failed", pod="a"}': counter(0, 1, 0),
            'chatserver_messages_total{result="unavailable", pod="a"}': counter(0, 5, 5),
        },
        labels={"event": "loop_failed"},
        steps=(70, 5, 70),
    ),
    # The counter of an event appears with the first of its kind.
    Case(
        "ChatDefects",
        ("ticket",),
        {
            'chatserver_defects_total{event="handler_failed", pod="a"}': gauge(None, 1, None),
            'chatserver_messages_total{result="unavailable", pod="a"}': counter(0, 5, 5),
        },
        labels={"event": "handler_failed"},
        steps=(70, 5, 70),
    ),
]
