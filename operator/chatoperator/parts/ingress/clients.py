"""Who the client of a connection or request is, and what one client address may have open. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LIMIT_WINDOW_SECONDS = 10
"""Requests are counted over this time, so that a page that loads ten things at once is no flood."""

LIMIT_ENTRIES = 200_000
"""Client addresses that are counted at once, about 150 bytes each; the oldest make room."""

IDLE_CONNECTIONS = 10
"""TCP connections of an address beside those that carry a request: browsers keep six to a host."""

SPARE_SHARE = 50
"""Of a proxy's connections one in so many is for answers alone: who is refused there has an answer at once, and leaves,
where it would otherwise wait unanswered until somebody else does."""

LEAST_SPARE = 10

FRONT_NAME = "front"
"""Name of the port for an Ingress or a Gateway: its few addresses carry everybody's connections."""


@dataclass(frozen=True)
class ClientLimits:
    """What one client address may do at this proxy; None is no limit.

    Attributes:
        requests_per_second: Over LIMIT_WINDOW_SECONDS.
        connections: Requests and WebSockets that are open at once; TCP connections, with or without a request on them,
            may be IDLE_CONNECTIONS more.
    """

    requests_per_second: int | None = None
    connections: int | None = None


def client_address(trusted_proxies: tuple[str, ...]) -> str:
    """Of requests through a trusted proxy the client is whom that proxy saw: the last entry, which it added itself."""
    if not trusted_proxies:
        return ""
    networks = " ".join(trusted_proxies)
    return (
        f"    http-request set-src req.hdr_ip(x-forwarded-for,-1) if {{ src {networks} }} "
        "{ req.hdr(x-forwarded-for) -m found }\n"
    )


def expects_header(configuration: str) -> bool:
    """Whether a rendered haproxy.cfg expects headers of the PROXY protocol from some networks."""
    return _EXPECT_HEADER in configuration


_EXPECT_HEADER = "tcp-request connection expect-proxy layer4"


def expect_header(networks: tuple[str, ...]) -> str:
    """A connection from these networks begins with a header, of version 1 or 2; with one, any other is refused."""
    return f"    {_EXPECT_HEADER} if {{ src {' '.join(networks)} }}\n" if networks else ""


def counters(limits: ClientLimits) -> str:
    """Tables of client addresses: their requests of late, and what they have open at this moment."""
    tables = []
    if limits != ClientLimits():
        tables.append(("clients", f"http_req_rate({LIMIT_WINDOW_SECONDS}s),conn_cur"))
    if limits.connections is not None:
        tables.append(("connections", "conn_cur"))
    return "".join(
        f"backend {name}\n    stick-table type ipv6 size {LIMIT_ENTRIES} expire 60s store {stored}\n\n"
        for name, stored in tables
    )


def limit_connections(limits: ClientLimits, *, trusted_proxies: tuple[str, ...], headers_from: tuple[str, ...]) -> str:
    """Refuse what is over the limit when it connects: before its TLS handshake, which costs both sides memory and time.

    Behind a load balancer with the PROXY protocol it is refused after the handshake: only then the client is known. A
    trusted proxy's connections carry many clients.
    """
    if limits.connections is None:
        return ""
    most = limits.connections + IDLE_CONNECTIONS
    moment = "session" if headers_from else "connection"
    others = f" || {{ src {' '.join(trusted_proxies)} }}" if trusted_proxies else ""
    return (
        f"    tcp-request {moment} track-sc1 src table connections unless {{ so_name {FRONT_NAME} }}{others}\n"
        f"    tcp-request {moment} reject if {{ sc1_conn_cur(connections) gt {most} }}\n"
    )


def refuse_when_full(max_connections: int) -> str:
    """Refuse a WebSocket with 503 once the proxy has nearly all its connections: 12,288 -> above 12,043.

    The connection is closed with the answer: a client that kept it for later would have one of the last ones.
    """
    most = max_connections - max(LEAST_SPARE, max_connections // SPARE_SHARE)
    return (
        f"    http-request deny deny_status 503 if {{ fe_conn gt {most} }} {{ req.hdr(upgrade) -m found }}\n"
        f"    http-after-response set-header Connection close if {{ status 503 }} {{ fe_conn gt {most} }}\n"
    )


def enforce(limits: ClientLimits) -> str:
    """Refuse with 429 what is over a limit. A request is open until it is answered, a WebSocket until it ends."""
    if limits == ClientLimits():
        return ""
    lines = ["    http-request track-sc0 src table clients"]
    if limits.requests_per_second is not None:
        most = limits.requests_per_second * LIMIT_WINDOW_SECONDS
        lines.append(f"    http-request deny deny_status 429 if {{ sc0_http_req_rate(clients) gt {most} }}")
    if limits.connections is not None:
        lines.append(f"    http-request deny deny_status 429 if {{ sc0_conn_cur(clients) gt {limits.connections} }}")
    return "\n".join(lines) + "\n"
