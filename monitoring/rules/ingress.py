"""Alerts on HAProxy and the certificate that it serves."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity


def _expires(severity: Severity, left: str, first: str) -> Alert:
    # The second is what clients get, also where an Ingress or a Gateway in front has a certificate of its own.
    metrics = ("chatcluster_certificate_expiry_timestamp_seconds", "chatprobe_certificate_expiry_timestamp_seconds")
    return Alert(
        "ChatCertificateExpires",
        severity,
        "\nor\n".join(
            f"min by (namespace, chatcluster) ({metric} > 0) - time() < seconds({left})" for metric in metrics
        ),
        "5m",
        f"The certificate of {CHAT} expires",
        "The certificate expires in {{ $value | humanizeDuration }} (a negative time: it has expired). From then on "
        f"clients refuse to connect. {first}",
    )


GROUPS = (
    Group(
        "chatcluster-ingress",
        "30s",
        (
            _expires(
                Severity.PAGE,
                "2d",
                "Put a new pair into the Secret that IngressReady names; with cert-manager, read why its Certificate "
                "is not renewed (kubectl describe certificate).",
            ),
            _expires(
                Severity.TICKET,
                "14d",
                "Get a new one, and put it into the Secret that IngressReady names; with cert-manager, check its "
                "Certificate and its logs if it should have been renewed already.",
            ),
            Alert(
                "ChatProxyNearLimit",
                Severity.TICKET,
                "max by (namespace, chatcluster, pod) (haproxy_process_current_connections / "
                "(haproxy_process_max_connections > 0)) > 0.8\n"
                "or\n"
                'max by (namespace, chatcluster, pod) (haproxy_frontend_current_sessions{proxy="https"} / '
                '(haproxy_frontend_limit_sessions{proxy="https"} > 0)) > 0.8',
                "5m",
                f"A proxy of {CHAT} has nearly all the connections that it may have",
                "{{ $labels.pod }} uses {{ $value | humanizePercentage }} of its connections. Further clients wait "
                "until others leave. Raise ingress.replicas, or the memory limit of HAProxy "
                "(docs/operations/sizing.md).",
            ),
            Alert(
                "ChatProxyErrors",
                Severity.TICKET,
                'sum by (namespace, chatcluster) (rate(haproxy_frontend_http_responses_total{proxy="https", '
                'code="5xx"}[5m]))\n'
                "/\n"
                '(sum by (namespace, chatcluster) (rate(haproxy_frontend_http_responses_total{proxy="https"}[5m])) '
                "> 0.1)\n"
                "> 0.05",
                "5m",
                f"HAProxy of {CHAT} answers with errors",
                "{{ $value | humanizePercentage }} of the answers have status 5xx. Clients retry, users wait. The "
                "field termination in HAProxy's log says whether a server or HAProxy itself failed the request.",
            ),
            Alert(
                "ChatProxyQueues",
                Severity.TICKET,
                'max by (namespace, chatcluster) (haproxy_backend_current_queue{proxy="chatserver"}) > 0',
                "5m",
                f"Requests to {CHAT} wait in HAProxy",
                "{{ $value }} requests wait because all chatservers have as many connections as HAProxy may open to "
                "them; after 5 s each gets 503. Add chatservers: raise maxReplicas or minReplicas.",
            ),
        ),
    ),
)
