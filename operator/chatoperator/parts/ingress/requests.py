"""Which requests HAProxy takes, and how long they may take to arrive. Pure.

Whatever is refused here is refused by closing the connection. After an answer HAProxy would wait for the rest of the
request for as long as the client sends a byte within `timeout client`, and there is no other end to that.
"""

from __future__ import annotations

BODY_SECONDS = 10
"""For a whole body, from the end of the head on, if it fits HAProxy's buffer of 16 KB. A chat's requests have a few
hundred bytes; for larger ones the servers have a deadline, and a least rate."""

HANDSHAKE_SECONDS = 10
"""For a TLS handshake: two round trips."""

MOST_LENGTH_DIGITS = 12
"""Digits of a Content-Length: 1 TB. HAProxy 3.0 reads 18446744073709551618 as 2, and passes the long number on."""

HOST = r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$"
"""A Host that can stand in an address: a name or an IP address, and a port."""

_NEVER_BUFFERED_BYTES = 1_000_000

_CLOCK_SLACK_MILLISECONDS = 100
"""The wait ends a little after its time by one clock, or before by another."""


def take_whole_bodies(seconds: int) -> str:
    """Wait for a body before anything is done about its request, and close the connection when its time is over.

    The condition of `accept` never holds; it has HAProxy wait while the body can still grow. A body that does not fit
    the buffer goes on to a server, which has a deadline too. `date` cannot be in a condition: it would be waited for.
    """
    late = seconds * 1000 - _CLOCK_SLACK_MILLISECONDS
    coding = "req.fhdr(transfer-encoding)"
    return f"""\
    acl has_body req.hdr(content-length) -m reg [1-9]
    acl has_body req.hdr(transfer-encoding) -m found
    acl has_body fc_http_major 2
    tcp-request inspect-delay {seconds}s
    tcp-request content set-var(txn.began,ifnotexists) date(0,ms)
    tcp-request content set-var(txn.waited) date(0,ms),sub(txn.began)
    tcp-request content reject if {{ var(txn.waited) -m int ge {late} }}
    tcp-request content reject if {{ req.hdr(content-length),length gt {MOST_LENGTH_DIGITS} }}
    tcp-request content reject if {{ {coding} -m found }} !{{ {coding} -i chunked }}
    tcp-request content accept if has_body {{ req.body -m len {_NEVER_BUFFERED_BYTES} }}
"""


def redirect_to_https(hostnames: tuple[str, ...], port: int, *, when: str = "") -> str:
    """Send plain HTTP to HTTPS: to the requested host, or to the first hostname where it is none of them.

    Args:
        hostnames: Of the chat; empty where it has none, and any host is its own.
        port: That clients use for HTTPS.
        when: ACLs of the requests that are redirected; empty: all are.
    """
    suffix = "" if port == 443 else f":{port}"  # noqa: PLR2004 - HTTPS's own port
    condition = f" if {when}" if when else ""
    lines = ["http-request set-var(txn.host) req.hdr(host),regsub(:[0-9]+$,),lower"]
    if hostnames:
        known = " ".join(hostnames)
        lines.append(f"http-request set-var(txn.host) str({hostnames[0]}) unless {{ var(txn.host) -m str {known} }}")
    lines.append(f"http-request redirect code 308 location https://%[var(txn.host)]{suffix}%[pathq]{condition}")
    return "".join(f"    {line}\n" for line in lines)


def refuse_odd_hosts() -> str:
    """400 for a Host that is none, before it is put into an address."""
    return f"    http-request deny deny_status 400 unless {{ req.hdr(host) -m reg {HOST} }}\n"
