"""Cases for monitoring/rules/ingress.py."""

from tests.support.rulecases import Case, Signal, counter, gauge

DAY = 86_400


def proxies(metric: str, limit: str, faulty: float) -> dict[str, Signal]:
    return {
        f'{metric}{{proxy="https", pod="a"}}': gauge(100, faulty, 700),
        f'{metric}{{proxy="https", pod="b"}}': gauge(100, 100),
        f'{limit}{{proxy="https", pod="a"}}': gauge(1000, 1000),
        f'{limit}{{proxy="https", pod="b"}}': gauge(1000, 1000),
    }


CASES = [
    *(
        Case("ChatCertificateExpires", fires, {metric: gauge(90 * DAY, days * DAY, near * DAY)})
        for metric in (
            'chatcluster_certificate_expiry_timestamp_seconds{pod="operator"}',
            'chatprobe_certificate_expiry_timestamp_seconds{pod="probe"}',
        )
        for fires, days, near in ((("page", "ticket"), 1, 15), (("ticket",), 10, 15))
    ),
    # 0: the expiry is not known.
    Case(
        "ChatCertificateExpires",
        ("page", "ticket"),
        {'chatcluster_certificate_expiry_timestamp_seconds{pod="operator"}': gauge(90 * DAY, 1 * DAY, 0)},
    ),
    Case(
        "ChatProxyNearLimit",
        ("ticket",),
        proxies("haproxy_process_current_connections", "haproxy_process_max_connections", 900),
        labels={"pod": "a"},
    ),
    Case(
        "ChatProxyNearLimit",
        ("ticket",),
        proxies("haproxy_frontend_current_sessions", "haproxy_frontend_limit_sessions", 900),
        labels={"pod": "a"},
    ),
    Case(
        "ChatProxyErrors",
        ("ticket",),
        {
            'haproxy_frontend_http_responses_total{proxy="https", code="5xx", pod="a"}': counter(0, 60, 20),
            'haproxy_frontend_http_responses_total{proxy="https", code="2xx", pod="a"}': counter(600, 600),
            'haproxy_frontend_http_responses_total{proxy="statistics", code="5xx", pod="a"}': counter(0, 600),
        },
    ),
    # A single request of the night says nothing.
    Case(
        "ChatProxyErrors",
        ("ticket",),
        {
            'haproxy_frontend_http_responses_total{proxy="https", code="5xx", pod="a"}': counter(0, 30, 1),
            'haproxy_frontend_http_responses_total{proxy="https", code="2xx", pod="a"}': counter(1, 1),
        },
    ),
    Case(
        "ChatProxyQueues",
        ("ticket",),
        {
            'haproxy_backend_current_queue{proxy="chatserver", pod="a"}': gauge(0, 5),
            'haproxy_backend_current_queue{proxy="other", pod="a"}': gauge(0, 5),
        },
        brief=5,
    ),
]
