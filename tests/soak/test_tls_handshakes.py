"""What a TLS handshake costs HAProxy: by the certificate's key, and when a client resumes a session."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from bench.usage import cpu_seconds
from tests.support.certificates import issued, of_a_user
from tests.support.findings import tell
from tests.support.proxyfarm import proxy_farm

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.parts.credentials import Certificate
    from tests.support.proxyfarm import ProxyFarm

PAIRS: dict[str, Callable[[], Certificate]] = {
    "ECDSA P-256": issued,
    "RSA 2048": lambda: of_a_user().server,
    "RSA 4096": lambda: of_a_user(bits=4096).server,
}
TICKETS = [(" no-tls-tickets", "")]
"""The change to the configuration that lets sessions be resumed by tickets."""

COUNT = int(os.environ.get("CHAT_SOAK_HANDSHAKES", "2000"))


def cost(farm: ProxyFarm, count: int, *, resume: bool, version: ssl.TLSVersion) -> tuple[float, int]:
    """HAProxy's CPU seconds of so many connections with a request that it answers itself, and how many resumed."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode, tls.maximum_version = False, ssl.CERT_NONE, version
    session, resumed, before = None, 0, 0.0
    for number in range(count + 1):
        if number == 1:
            before = cpu_seconds(farm.pids())
        with (
            socket.create_connection(farm.doors[0]) as plain,
            tls.wrap_socket(plain, server_hostname="localhost", session=session) as wire,
        ):
            wire.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while wire.recv(4096):
                pass
            resumed += bool(wire.session_reused)
            session = wire.session if resume else None
    return cpu_seconds(farm.pids()) - before, resumed


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("key", PAIRS)
def test_a_handshake_costs_little_by_the_operators_key(key: str) -> None:
    pair = PAIRS[key]()
    for tickets in (False, True):
        with proxy_farm(
            1, ["127.0.0.1:9"], server_connections=10, certificate=pair, changes=TICKETS if tickets else ()
        ) as farm:
            for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
                for resume in (False, True):
                    seconds, resumed = cost(farm, COUNT, resume=resume, version=version)
                    tell(
                        f"{key}, {version.name}, {'tickets' if tickets else 'no tickets'}, "
                        f"{'resuming' if resume else 'full'}: {1e6 * seconds / COUNT:.0f} us of HAProxy's CPU, "
                        f"{resumed} of {COUNT} resumed"
                    )
                    assert resumed == (COUNT if resume else 0)
