"""HAProxy, pod by pod: its limits, its answers, the way to the servers, certificates."""

from __future__ import annotations

from monitoring.dashboards.model import Color, Dashboard, Kind, Panel, Query, Row, Threshold, Unit
from monitoring.dashboards.queries import CHAT, of, rate, share, total

POD = "{{pod}}"

BACKEND = 'proxy="chatserver"'
"""The servers behind the proxies; the frontends `http` and `https` stand before them."""

FRONT = 'proxy=~"http|https"'


def _left(metric: str) -> str:
    """Seconds until a time, for each chat."""
    return f"min by (namespace, chatcluster) ({of(metric)} > 0) - time()"


_BEHIND = Row(
    "The way to the servers",
    (
        Panel(
            title="Servers in use, by proxy",
            shows="Chatservers that each proxy sends clients to.",
            normal="the number of ready chatservers, the same for all proxies. 0 (red): nobody can connect.",
            unit=Unit.COUNT,
            kind=Kind.STAT,
            queries=(Query(f"min by (pod) ({of('haproxy_backend_active_servers', BACKEND)})", POD),),
            alerts=("ChatNoServers",),
            thresholds=(Threshold(1, Color.BAD),),
            falling=True,
        ),
        Panel(
            title="Faults on the way to the servers",
            shows="A second: failed connections, invalid answers, retries, and requests moved to another server.",
            normal="0; a few while servers leave. All the time: servers that fail, or a NetworkPolicy.",
            unit=Unit.PER_SECOND,
            queries=tuple(
                Query(total(rate(f"haproxy_backend_{metric}_total", BACKEND)), name)
                for name, metric in (
                    ("connection errors", "connection_errors"),
                    ("invalid answers", "response_errors"),
                    ("retries", "retry_warnings"),
                    ("moved", "redispatch_warnings"),
                )
            ),
            alerts=("ChatProxyErrors", "ChatNoServers"),
        ),
        Panel(
            title="Queue",
            shows="Requests that wait because every server has its most connections.",
            normal="0. More: all servers are full; look at ScalingLimited and maxReplicas.",
            unit=Unit.COUNT,
            queries=(Query(total(of("haproxy_backend_current_queue", BACKEND), "pod"), POD),),
            alerts=("ChatProxyQueues",),
        ),
        Panel(
            title="Times of requests (average of the last 1,024)",
            shows="In the queue, to connect to a server, and until it answers; the worst proxy. A WebSocket counts "
            "until "
            "its handshake is answered.",
            normal="queue 0, connect below a millisecond or two, answer tens of milliseconds.",
            unit=Unit.SECONDS,
            queries=tuple(
                Query(f"max({of(f'haproxy_backend_{name}_time_average_seconds', BACKEND)})", name)
                for name in ("queue", "connect", "response")
            ),
            alerts=("ChatProxyQueues",),
        ),
        Panel(
            title="Time of the operator's request",
            shows="Duration of the operator's last request through each ingress; the condition Ready comes from it.",
            normal="tens of milliseconds. The operator gives up after a few seconds.",
            unit=Unit.SECONDS,
            queries=(Query(f"max by (namespace, chatcluster) ({of('chatcluster_answer_seconds')})", CHAT),),
            alerts=("ChatNotReady",),
            logarithmic=True,
        ),
        Panel(
            title="Certificates expire",
            shows="When the certificate that clients see expires, for each chat: the operator's reading of it, and "
            "the "
            "probe's.",
            normal="in more than 14 days. Orange below that, red below 2 days.",
            unit=Unit.SECONDS,
            kind=Kind.STAT,
            queries=(
                Query(_left("chatcluster_certificate_expiry_timestamp_seconds"), CHAT),
                Query(_left("chatprobe_certificate_expiry_timestamp_seconds"), f"{CHAT} probe"),
            ),
            alerts=("ChatCertificateExpires",),
            thresholds=(Threshold(2 * 86400, Color.BAD), Threshold(14 * 86400, Color.WARNING)),
            falling=True,
            empty="no TLS",
        ),
    ),
)

_CLIENTS = Row(
    "Clients",
    (
        Panel(
            title="Answers, by status",
            shows="HTTP answers to clients a second, by class of status; a WebSocket is one 1xx.",
            normal="2xx and 1xx; 4xx are clients' mistakes or limits. 5xx: HAProxy had no server, or a server failed.",
            unit=Unit.REQUESTS_PER_SECOND,
            queries=(Query(total(rate("haproxy_frontend_http_responses_total", FRONT), "code"), "{{code}}"),),
            alerts=("ChatProxyErrors",),
            stacked=True,
            colors={"1xx": Color.OTHER, "2xx": Color.GOOD, "4xx": Color.WARNING, "5xx": Color.BAD},
        ),
        Panel(
            title="Share of 5xx",
            shows="Answers with a status of 500 and above, of all answers to clients.",
            normal="0. Above 5 % (dashed line) users notice it.",
            unit=Unit.RATIO,
            queries=(
                Query(
                    share(
                        total(rate("haproxy_frontend_http_responses_total", f'{FRONT}, code="5xx"'), "pod"),
                        total(rate("haproxy_frontend_http_responses_total", FRONT), "pod"),
                    ),
                    POD,
                ),
            ),
            alerts=("ChatProxyErrors",),
            thresholds=(Threshold(0.05, Color.BAD),),
            reaches=0.1,
        ),
        Panel(
            title="Refused by a limit",
            shows="A second: requests and connections that HAProxy denied, by its rules and limits for each address.",
            normal="few. Many: an attack, or users behind one address (condition ClientAddressesShared).",
            unit=Unit.PER_SECOND,
            queries=(
                Query(total(rate("haproxy_frontend_requests_denied_total", FRONT), "proxy"), "requests {{proxy}}"),
                Query(
                    total(rate("haproxy_frontend_denied_connections_total", FRONT), "proxy"), "connections {{proxy}}"
                ),
            ),
        ),
    ),
)

_LIMITS = Row(
    "Limits of the proxies",
    (
        Panel(
            title="Connections in use",
            shows="Share of the connections that a proxy may have; a WebSocket takes one of clients and one to a "
            "server.",
            normal="below 80 % (dashed line). At 100 % further clients wait: add proxies or memory "
            "(docs/operations/sizing.md).",
            unit=Unit.RATIO,
            queries=(
                Query(
                    share(
                        total(of("haproxy_process_current_connections"), "pod"),
                        total(of("haproxy_process_max_connections"), "pod"),
                    ),
                    POD,
                ),
            ),
            alerts=("ChatProxyNearLimit",),
            thresholds=(Threshold(0.8, Color.BAD),),
            maximum=1,
            width=6,
        ),
        Panel(
            title="New connections and TLS handshakes",
            shows="A second, over all proxies. TLS handshakes cost the most CPU of a proxy.",
            normal="follows the day. A peak is a reconnect storm.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(total(rate("haproxy_process_connections_total")), "connections"),
                Query(total(rate("haproxy_process_ssl_connections_total")), "TLS"),
            ),
            alerts=("ChatReconnectStorm",),
            width=6,
        ),
        Panel(
            title="Busy",
            shows="Share of time in which the threads of a proxy do something.",
            normal="below 80 % (dashed line). More: add proxies.",
            unit=Unit.RATIO,
            queries=(Query(f"1 - min by (pod) ({of('haproxy_process_idle_time_percent')}) / 100", POD),),
            alerts=("ChatProxyNearLimit",),
            thresholds=(Threshold(0.8, Color.BAD),),
            maximum=1,
            width=6,
        ),
        Panel(
            title="Traffic",
            shows="Bytes a second from clients and to them, over all proxies.",
            normal="follows the number of messages. A network or node may have a limit of its own.",
            unit=Unit.BYTES_PER_SECOND,
            queries=(
                Query(total(rate("haproxy_frontend_bytes_in_total", FRONT)), "from clients"),
                Query(total(rate("haproxy_frontend_bytes_out_total", FRONT)), "to clients"),
            ),
            width=6,
        ),
    ),
)

INGRESS = Dashboard(
    "ingress",
    "ChatCluster / Ingress",
    "Do clients get through HAProxy, and is one of its limits near?",
    (_BEHIND, _CLIENTS, _LIMITS),
)
