"""A server listens on both address families, and starts where the kernel knows only one."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.listener import open_listener, plain_address
from tests.support.plainhttp import NO_TLS
from tests.support.ports import free_port
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

WITHOUT_IPV6 = (sys.executable, "-m", "tests.support.withoutipv6")


@pytest.mark.parametrize(
    ("prefix", "reachable"), [((), {"127.0.0.1", "[::1]"}), (WITHOUT_IPV6, {"127.0.0.1"})], ids=["both", "one"]
)
def test_a_server_answers_on_each_family_that_the_kernel_has(
    read_dsn: Callable[[], str], prefix: tuple[str, ...], reachable: set[str]
) -> None:
    # Empty is the default, which other tests narrow to this machine.
    server = ServerProcess(read_dsn(), "one", CHAT_HTTP_HOST="")
    server.prefix = prefix
    with server:
        server.wait_ready()
        for url in (f"{server.url}/livez", server.metrics_url):
            assert {host for host in ("127.0.0.1", "[::1]") if _answers(url.replace("127.0.0.1", host))} == reachable


@pytest.mark.parametrize(
    ("prefix", "reachable"), [((), {"127.0.0.1", "[::1]"}), (WITHOUT_IPV6, {"127.0.0.1"})], ids=["both", "one"]
)
def test_the_operators_metrics_are_there_on_each_family_that_the_kernel_has(
    prefix: tuple[str, ...], reachable: set[str]
) -> None:
    port = free_port()
    program = f"import chatoperator.metrics.prometheus as m; m.serve({port}); print('serving', flush=True); input()"
    command = [*prefix, sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        assert {host for host in ("127.0.0.1", "[::1]") if _answers(f"http://{host}:{port}/metrics")} == reachable
        process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=NO_TLS, trust_env=False).status_code == httpx.codes.OK
    except httpx.ConnectError:
        return False


def test_a_client_of_ipv4_has_the_address_that_everybody_else_writes() -> None:
    with (
        open_listener("", 0, backlog=1) as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client,
    ):
        accepted, peer = listener.accept()
        accepted.close()
        assert plain_address(peer[0]) == client.getsockname()[0] == "127.0.0.1"
    assert plain_address("2001:db8::1") == "2001:db8::1"
    assert plain_address("") == ""
