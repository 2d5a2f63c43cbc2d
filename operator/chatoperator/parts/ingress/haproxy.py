"""haproxy.cfg as text. Nothing in it follows the number of servers, so that scaling never reloads HAProxy."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources

from chatoperator.parts.ingress.answers import NOT_FOUND, http_errors, problem_body
from chatoperator.parts.ingress.clients import (
    FRONT_NAME,
    ClientLimits,
    client_address,
    counters,
    enforce,
    expect_header,
    limit_connections,
    refuse_when_full,
)
from chatoperator.parts.ingress.requests import (
    BODY_SECONDS,
    HANDSHAKE_SECONDS,
    redirect_to_https,
    refuse_odd_hosts,
    take_whole_bodies,
)
from chatoperator.parts.ingress.telemetry import LOG_FORMAT, PAGE

CHECK_INTERVAL_SECONDS = 2
"""Between two active checks of a server."""

CHECK_FALL = 2
"""Failed checks after which a server gets no new requests."""

READINESS_NOTICE_SECONDS = CHECK_INTERVAL_SECONDS * CHECK_FALL + 2
"""Seconds after which every HAProxy has noticed that a server's /readyz turned 503: interval x fall, and 2 of slack."""

DISCOVERY_SECONDS = 10
"""Until every HAProxy sends requests to a new server: CoreDNS caches answers for 5 s, HAProxy queries it every 2 s,
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
STREAMS = 20
"""Requests that one HTTP/2 connection has open at once. More wait at the client, which shows nobody an error."""

REDIRECTED_PART = 10
"""Of the connections, for those to the port that only redirects: a tenth."""

ADDRESSES_VARIABLE = "POD_IPS"
"""Environment variable with the pod's addresses, with commas between them."""

CERTIFICATE_FILE = "/etc/haproxy/tls/tls.crt"
KEY_FILE = "/etc/haproxy/tls/tls.key"
ADMIN_SOCKET = "/run/haproxy/admin.sock"

CONFIG_FOLDER = "/usr/local/etc/haproxy"
SCRIPT_NAME = "certificates.lua"

SCRIPT = resources.files("chatoperator.parts.ingress").joinpath(SCRIPT_NAME).read_text()
"""What serves a changed certificate without a reload. It comes with the configuration rather than with the image, so
that any HAProxy image with Lua will do."""


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
        hostnames: Of the chat, to which plain HTTP is redirected; empty where it has none.
        max_connections: TCP connections of clients that this proxy has memory for; more wait to be accepted. The last
            ones are for refusing WebSockets.
        body_seconds: In which a body has to arrive that fits HAProxy's buffer.
    """

    servers: str
    servers_port: int
    server_connections: int
    https_port: int
    limits: ClientLimits = field(default_factory=ClientLimits)
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol_from: tuple[str, ...] = ()
    fronted: bool = False
    hostnames: tuple[str, ...] = ()
    max_connections: int = 12_000
    body_seconds: int = BODY_SECONDS


def render(route: Route) -> str:
    """The whole haproxy.cfg.

    No `on-marked-down shutdown-sessions`: a database outage marks every server down, and its WebSockets must live.
    """
    client = (_insist_on_https(route) if route.fronted else "") + client_address(route.trusted_proxies)
    connect = expect_header(route.proxy_protocol_from) + limit_connections(
        route.limits, trusted_proxies=route.trusted_proxies, headers_from=route.proxy_protocol_from
    )
    ports = _bind(HTTPS_PORT, f"ssl crt {CERTIFICATE_FILE} alpn h2,http/1.1")
    if route.fronted:
        ports += _bind(FRONT_PORT, f"name {FRONT_NAME}")
    framing = take_whole_bodies(route.body_seconds) + refuse_odd_hosts()
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
    # Each can hold a buffer of 16 KB; by default 100 do.
    tune.h2.fe.max-concurrent-streams {STREAMS}

defaults
    mode http
    log global
    option dontlognull
    option http-ignore-probes
    # Each retry is another server's: at one whose node is gone it would wait for as long once more.
    option redispatch 1
    retries 3
    # Nothing that a server may have acted on is sent twice, see `disable-l7-retry`.
    retry-on conn-failure empty-response
    timeout connect 2s
    timeout client-hs {HANDSHAKE_SECONDS}s
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
    log-format '{LOG_FORMAT}'
{http_errors()}

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
{_bind(HTTP_PORT)}    maxconn {route.max_connections // REDIRECTED_PART}
{connect}{framing}{redirect_to_https(route.hostnames, route.https_port)}
frontend https
{ports}    # Not of the whole process: kubelet has to get through to the statistics.
    maxconn {route.max_connections}
{connect}{framing}{client}    http-request disable-l7-retry if !METH_GET or {{ req.hdr(upgrade) -m found }}
    # Replaced, not appended to: what clients claim about themselves is not true.
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
{enforce(route.limits)}{refuse_when_full(route.max_connections)}{_deny_metrics()}
    default_backend chatserver

backend chatserver
    balance leastconn
    # A client's first request never goes over a connection that others have used.
    http-reuse safe
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host chatserver hdr User-Agent haproxy-check
    http-check expect status 200
    default-server check inter {CHECK_INTERVAL_SECONDS}s fall {CHECK_FALL} rise 1 resolvers cluster init-addr none
    default-server maxconn {route.server_connections}
    server-template chat {SERVER_SLOTS} {route.servers}:{route.servers_port}

{counters(route.limits)}frontend statistics
{_bind(STATISTICS_PORT)}    monitor-uri /healthz
    option dontlog-normal
{PAGE}    http-request return status 404
"""


def _bind(port: int, options: str = "") -> str:
    """Listen on IPv4, and on IPv6 where the pod has such an address: elsewhere the kernel may have none at all."""
    words = f" {options}" if options else ""
    return f"""\
    bind :{port}{words}
.if strstr("\\"${ADDRESSES_VARIABLE}\\"",":")
    bind :::{port} v6only{words}
.endif
"""


def _insist_on_https(route: Route) -> str:
    """What stands in front says by which way the client came to it."""
    front = f"{{ so_name {FRONT_NAME} }} {{ req.hdr(x-forwarded-proto) -i http }}"
    return redirect_to_https(route.hostnames, 443, when=front)


def _deny_metrics() -> str:
    """Metrics are for the inside of the cluster, whatever a server should come to serve there."""
    return (
        "    http-request return status 404 content-type application/problem+json "
        f"string '{problem_body(NOT_FOUND)}' if {{ path_beg /metrics }}"
    )
