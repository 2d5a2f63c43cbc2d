"""haproxy.cfg as text. Nothing in it follows the number of servers, so that scaling never reloads HAProxy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

CHECK_INTERVAL_SECONDS = 2
"""Between two active checks of a server."""

CHECK_FALL = 2
"""Failed checks after which a server gets no new requests."""

READINESS_NOTICE_SECONDS = CHECK_INTERVAL_SECONDS * CHECK_FALL + 2
"""Seconds after which every HAProxy has noticed that a server's /readyz turned 503: interval x fall, and 2 of slack."""

DISCOVERY_SECONDS = 10
"""Until every HAProxy sends requests to a new server: CoreDNS answers from its cache for 5 s, HAProxy asks every 2 s,
and the first check takes up to 2 s more."""

SERVER_SLOTS = 150
"""Slots of the server-template: the CRD's largest maxReplicas (100), a rollout's surge of 25 % arriving and as many
leaving. Fixed by the CRD, not by the object: changing maxReplicas must not restart HAProxy."""

HARD_STOP_AFTER_SECONDS = 30
"""A leaving HAProxy keeps its WebSockets this long after it stopped listening."""

LEAVE_ENDPOINTS_SECONDS = 5
"""A leaving pod still accepts while the nodes learn that it is gone."""

STAY_SECONDS = LEAVE_ENDPOINTS_SECONDS + HARD_STOP_AFTER_SECONDS - 10
"""From when a chatserver last found a pod's address in DNS until all its clients should have left. The address is
there for up to 7 s after the pod began to leave (CoreDNS' cache, and 2 s between two looks), and closing takes time."""

HTTP_PORT = 8080
HTTPS_PORT = 8443
FRONT_PORT = 8081
STATISTICS_PORT = 8404
CERTIFICATE_FILE = "/etc/haproxy/tls/tls.crt"
KEY_FILE = "/etc/haproxy/tls/tls.key"
ADMIN_SOCKET = "/run/haproxy/admin.sock"

CONFIG_FOLDER = "/usr/local/etc/haproxy"
SCRIPT_NAME = "certificates.lua"

SCRIPT = resources.files("chatoperator.manifests").joinpath(SCRIPT_NAME).read_text()
"""What serves a changed certificate without a reload. It comes with the configuration rather than with the image, so
that any HAProxy image with Lua will do."""

RETRY_AFTER_SECONDS = 5
"""What 429 and 503 tell clients to wait: two check intervals and a bit."""


@dataclass(frozen=True)
class Problem:
    """One of HAProxy's own answers, as RFC 9457 problem+json."""

    status: int
    code: str
    title: str
    detail: str
    retry: bool = False


PROBLEMS = (
    Problem(400, "bad_request", "Bad Request", "The request could not be understood."),
    Problem(408, "request_timeout", "Request Timeout", "The request took too long to arrive.", retry=True),
    Problem(429, "rate_limited", "Too Many Requests", "Slow down.", retry=True),
    Problem(500, "internal_error", "Internal Server Error", "The load balancer failed."),
    Problem(502, "bad_gateway", "Bad Gateway", "A chat server answered nothing usable.", retry=True),
    Problem(503, "unavailable", "Service Unavailable", "No chat server can answer at the moment.", retry=True),
    Problem(504, "gateway_timeout", "Gateway Timeout", "A chat server took too long to answer.", retry=True),
)
"""Every status HAProxy can answer by itself here."""

NOT_FOUND = Problem(404, "not_found", "Not Found", "There is nothing at this address.")


LIMIT_WINDOW_SECONDS = 10
"""Requests are counted over this time, so that a page that loads ten things at once is no flood."""

LIMIT_ENTRIES = 200_000
"""Client addresses that are counted at once, about 150 bytes each; the oldest make room."""


@dataclass(frozen=True)
class Limits:
    """What one client address may do at this proxy; None is no limit."""

    requests_per_second: int | None = None
    connections: int | None = None


@dataclass(frozen=True)
class Route:
    """What the configuration is made from.

    Attributes:
        servers: DNS name of the headless Service.
        servers_port: Port of the servers.
        server_connections: Requests and WebSockets that this proxy has open at one server at once; more wait.
        https_port: Port that clients use for HTTPS, as the redirect has to name it.
        limits: Of each client address.
        trusted_proxies: Networks of the proxies in front, whose X-Forwarded-For names the client.
        proxy_protocol_from: Networks of the load balancers in front, which begin each connection with a header of the
            PROXY protocol that names the client.
        fronted: Whether an Ingress or a Gateway in front ends TLS, and speaks plain HTTP to FRONT_PORT.
    """

    servers: str
    servers_port: int
    server_connections: int
    https_port: int
    limits: Limits = Limits()
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol_from: tuple[str, ...] = ()
    fronted: bool = False


def problem_body(problem: Problem) -> str:
    """The JSON of a problem, in one line without single quotes."""
    return json.dumps(
        {
            "type": "about:blank",
            "title": problem.title,
            "status": problem.status,
            "code": problem.code,
            "detail": problem.detail,
        },
        separators=(",", ":"),
    )


def _http_error(problem: Problem) -> str:
    retry = f" hdr Retry-After {RETRY_AFTER_SECONDS}" if problem.retry else ""
    return (
        f"    http-error status {problem.status} content-type application/problem+json "
        f"string '{problem_body(problem)}' hdr Cache-Control no-store{retry}"
    )


def render(route: Route) -> str:
    """The whole haproxy.cfg.

    No `on-marked-down shutdown-sessions`: a database outage marks every server down, and its WebSockets must live.
    """
    errors = "\n".join(_http_error(problem) for problem in PROBLEMS)
    client = (_insist_on_https() if route.fronted else "") + _client_address(route.trusted_proxies)
    header = _expect_header(route.proxy_protocol_from)
    front = f"    bind :{FRONT_PORT}\n" if route.fronted else ""
    port = "" if route.https_port == 443 else f":{route.https_port}"  # noqa: PLR2004 - HTTPS's own port
    return f"""\
global
    log stdout format raw local0 info
    # One process carries half as many connections as it has file descriptors. Without a limit of ours HAProxy would
    # allocate tables for the container runtime's, often a million.
    fd-hard-limit 200000
    nbthread 2
    hard-stop-after {HARD_STOP_AFTER_SECONDS}s
    stats socket {ADMIN_SOCKET} mode 600 level admin
    lua-load {CONFIG_FOLDER}/{SCRIPT_NAME} {CERTIFICATE_FILE} {KEY_FILE} {ADMIN_SOCKET}
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-curves X25519:P-256
    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20
    # The key lies beside the certificate: tls.crt and tls.key, as Kubernetes names them.
    ssl-load-extra-del-ext
    # WebSockets come over HTTP/1.1; the rest may use HTTP/2.
    h2-workaround-bogus-websocket-clients
    tune.ssl.default-dh-param 2048

defaults
    mode http
    log global
    option dontlognull
    option http-ignore-probes
    # Each retry is another server's: at one whose node is gone it would wait for as long once more.
    option redispatch 1
    retries 3
    # Nothing that a server may have acted on is sent twice.
    retry-on conn-failure
    timeout connect 2s
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout client 90s
    timeout server 90s
    timeout queue 5s
    timeout check 2s
    # WebSockets: both sides ping far more often.
    timeout tunnel 1h
    timeout client-fin 30s
    timeout server-fin 30s
    log-format '{_log_format()}'
{errors}

resolvers cluster
    parse-resolv-conf
    # Addresses of all servers in one answer: 16 bytes each, 28 of IPv6, whatever the names. SRV answers repeat the
    # servers' names: those of 50 to 110 fill these 8 KB, and HAProxy would not hear of the others (haproxy#1421).
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 2s
    hold nx 30s
    hold refused 30s
    hold timeout 30s
    hold other 30s
    hold obsolete 10s

frontend http
    bind :{HTTP_PORT}
{header}    http-request deny deny_status 400 unless {{ req.hdr(host) -m found }}
    http-request redirect code 308 location https://%[req.hdr(host),regsub(:[0-9]+$,)]{port}%[pathq]

frontend https
    bind :{HTTPS_PORT} ssl crt {CERTIFICATE_FILE} alpn h2,http/1.1
{front}{header}{client}    # Replaced, not appended to: what clients claim about themselves is not true.
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    http-request del-header Forwarded
    http-request del-header X-Real-IP
    http-request set-header X-Request-Id %[uuid()] unless {{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{{1,64}}$ }}
    http-request set-var(txn.request_id) req.hdr(x-request-id)
    http-request set-var(txn.path) path
    http-request set-var(txn.method) method
    http-after-response set-header X-Request-Id %[var(txn.request_id)] unless {{ res.hdr(x-request-id) -m found }}
    # {SCRIPT_NAME} keeps the list, by the certificate that is served: another one needs no reload.
    acl promised str(promised) -f virt@hsts
    http-after-response set-header Strict-Transport-Security "max-age=31536000" if promised {{ ssl_fc }}
{_enforce(route.limits)}{_deny_metrics()}
    default_backend chatserver

backend chatserver
    balance leastconn
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host chatserver hdr User-Agent haproxy-check
    http-check expect status 200
    default-server check inter {CHECK_INTERVAL_SECONDS}s fall {CHECK_FALL} rise 1 resolvers cluster init-addr none
    default-server maxconn {route.server_connections}
    server-template chat {SERVER_SLOTS} {route.servers}:{route.servers_port}

{_counters(route.limits)}frontend statistics
    bind :{STATISTICS_PORT}
    monitor-uri /healthz
    option dontlog-normal
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""


def _insist_on_https() -> str:
    """What stands in front says by which way the client came to it."""
    return (
        "    http-request redirect code 308 location https://%[req.hdr(host),regsub(:[0-9]+$,)]%[pathq] "
        "if !{ ssl_fc } { req.hdr(x-forwarded-proto) -i http }\n"
    )


def _client_address(trusted_proxies: tuple[str, ...]) -> str:
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


def _expect_header(networks: tuple[str, ...]) -> str:
    """A connection from these networks begins with a header, of version 1 or 2; with one, any other is refused."""
    return f"    {_EXPECT_HEADER} if {{ src {' '.join(networks)} }}\n" if networks else ""


def _counters(limits: Limits) -> str:
    """A table of client addresses: their requests of late, and what they have open at this moment."""
    if limits == Limits():
        return ""
    return f"""\
backend clients
    stick-table type ipv6 size {LIMIT_ENTRIES} expire 60s store http_req_rate({LIMIT_WINDOW_SECONDS}s),conn_cur

"""


def _enforce(limits: Limits) -> str:
    """Refuse with 429 what is over a limit. A request is open until it is answered, a WebSocket until it ends."""
    if limits == Limits():
        return ""
    lines = ["    http-request track-sc0 src table clients"]
    if limits.requests_per_second is not None:
        most = limits.requests_per_second * LIMIT_WINDOW_SECONDS
        lines.append(f"    http-request deny deny_status 429 if {{ sc0_http_req_rate(clients) gt {most} }}")
    if limits.connections is not None:
        lines.append(f"    http-request deny deny_status 429 if {{ sc0_conn_cur(clients) gt {limits.connections} }}")
    return "\n".join(lines) + "\n"


def _deny_metrics() -> str:
    """Metrics are for the inside of the cluster, whatever a server should come to serve there."""
    return (
        "    http-request return status 404 content-type application/problem+json "
        f"string '{problem_body(NOT_FOUND)}' if {{ path_beg /metrics }}"
    )


def _log_format() -> str:
    """One JSON object a request. Paths without their query, which can carry tickets; no header of the client."""
    fields = {
        "event": '"request"',
        "timestamp": "%Ts.%ms",
        "client": '"%ci"',
        "method": '"%[var(txn.method),json(utf8s)]"',
        "path": '"%[var(txn.path),json(utf8s)]"',
        "status": "%ST",
        "bytes": "%B",
        "milliseconds": "%Ta",
        "server": '"%s"',
        "termination": '"%ts"',
        "request_id": '"%[var(txn.request_id),json(utf8s)]"',
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
