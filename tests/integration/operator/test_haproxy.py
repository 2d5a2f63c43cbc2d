"""haproxy.cfg in a real HAProxy: what clients see of it. Servers by DNS are e2e's part; here they are fixed."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest

from chatoperator.parts.ingress.clients import ClientLimits
from chatoperator.parts.ingress.haproxy import Route, render
from chatoperator.parts.ingress.tls.self_signed import ensure
from chatoperator.probes.prober import Prober, Target
from tests.support.certificates import of_a_user
from tests.support.cluster import until
from tests.support.front import (
    NAMES,
    PATIENCE_SECONDS,
    ROUTE,
    anybody,
    at_home,
    echo,
    in_front,
    open_websocket,
    write_files,
)
from tests.support.haproxy import program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.front import Front

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "route",
    [
        ROUTE,
        replace(ROUTE, https_port=443),
        replace(ROUTE, fronted=True, proxy_protocol_from=("10.0.0.0/8",)),
        replace(ROUTE, limits=ClientLimits(100, None), proxy_protocol_from=("10.0.0.0/8", "2001:db8::1")),
        replace(ROUTE, limits=ClientLimits(None, 5), trusted_proxies=("10.0.0.0/8", "2001:db8::/32")),
    ],
)
def test_haproxy_accepts_the_configuration_as_it_is(tmp_path: Path, route: Route) -> None:
    write_files(tmp_path)
    configuration, text = tmp_path / "haproxy.cfg", render(route)
    configuration.write_text(at_home(text, tmp_path))
    done = subprocess.run([str(program()), "-c", "-f", str(configuration)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_clients_cannot_choose_their_address_and_every_answer_has_a_request_id(front: Front) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Real-IP": "203.0.113.9"}
    answer = await front.client.get(f"{front.https}/x", headers=forged)
    (seen,) = front.seen
    assert seen.headers.getall("X-Forwarded-For") == ["127.0.0.1"]
    assert seen.headers["X-Forwarded-Proto"] == "https"
    assert not {"Forwarded", "X-Real-IP"} & set(seen.headers)
    assert answer.headers["X-Request-Id"] == seen.headers["X-Request-Id"]
    assert "Strict-Transport-Security" not in answer.headers


async def test_a_request_id_is_passed_on_unless_it_is_nonsense(front: Front) -> None:
    await front.client.get(f"{front.https}/x", headers={"X-Request-Id": "mine-1"})
    await front.client.get(f"{front.https}/x", headers={"X-Request-Id": 'no"thing"'})
    assert front.seen[0].headers["X-Request-Id"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f-]{36}", front.seen[1].headers["X-Request-Id"])


async def test_http_is_sent_to_the_port_that_serves_https(front: Front) -> None:
    answer = await front.client.get(f"{front.http}/a/b?c=d", headers={"Host": "chat.example.com:30080"})
    assert answer.status_code == httpx.codes.PERMANENT_REDIRECT
    assert answer.headers["Location"] == "https://chat.example.com:30443/a/b?c=d"


async def test_http_goes_to_https_without_a_port_where_that_is_443(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, https_port=443)) as front:
        for host, wanted in (("chat.example.com", "chat.example.com"), ("[2001:db8::1]:80", "[2001:db8::1]")):
            answer = await front.client.get(f"{front.http}/a", headers={"Host": host})
            assert answer.headers["Location"] == f"https://{wanted}/a"
        reader, writer = await asyncio.open_connection("localhost", front.http_port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        nowhere = (await reader.read()).decode()
        writer.close()
    assert nowhere.startswith(("HTTP/1.0 400", "HTTP/1.1 400"))
    assert '"code":"bad_request"' in nowhere


async def test_http_is_sent_to_the_chats_own_names_alone(tmp_path: Path) -> None:
    route = replace(ROUTE, https_port=443, hostnames=("chat.example.com", "www.example.com"))
    sent = {
        "chat.example.com": "chat.example.com",
        "WWW.example.com:80": "www.example.com",
        "evil.example": "chat.example.com",
        "chat.example.com.evil.example": "chat.example.com",
        "[2001:db8::1]:80": "chat.example.com",
    }
    async with in_front(tmp_path, route) as front:
        for host, wanted in sent.items():
            answer = await front.client.get(f"{front.http}/a?b", headers={"Host": host})
            assert answer.headers["Location"] == f"https://{wanted}/a?b"


@pytest.mark.parametrize("hostnames", [(), ("chat.example.com",)])
async def test_a_host_that_is_none_is_put_into_no_address(tmp_path: Path, hostnames: tuple[str, ...]) -> None:
    async with in_front(tmp_path, replace(ROUTE, hostnames=hostnames)) as front:
        for host in ("a@evil.example", "evil.example/", "a b", "a,b", "", "a:b", "[::1", "a:123456", "a\tb", "a%0d"):
            reader, writer = await asyncio.open_connection("localhost", front.http_port)
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            writer.close()
            assert answer.split()[1] == b"400", (host, answer)


@pytest.mark.parametrize(
    ("addresses", "reachable"), [("127.0.0.1", {"127.0.0.1"}), ("127.0.0.1,fd00::1", {"127.0.0.1", "::1"})]
)
async def test_haproxy_listens_on_ipv6_where_its_pod_has_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: str, reachable: set[str]
) -> None:
    monkeypatch.setenv("POD_IPS", addresses)
    async with in_front(tmp_path, replace(ROUTE, fronted=True)) as front:
        for port in (front.http_port, front.https_port, front.front_port, front.statistics_port):
            assert {host for host in ("127.0.0.1", "::1") if await _connects(host, port)} == reachable


async def _connects(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def test_every_answer_promises_https_where_the_certificate_is_another_authoritys(tmp_path: Path) -> None:
    route = replace(ROUTE, limits=ClientLimits(requests_per_second=1))
    async with in_front(tmp_path, route, made=of_a_user()) as front:
        await _promises(front)
        answers = [await front.client.get(f"{front.https}{path}") for path in ("/x", "/metrics")]
        answers += [await front.client.get(f"{front.https}/x") for _ in range(12)]
        redirect = await front.client.get(f"{front.http}/x")
    assert {answer.status_code for answer in answers} == {200, 404, 429}
    assert {answer.headers["Strict-Transport-Security"] for answer in answers} == {"max-age=31536000"}
    # Browsers must not heed it there, and it says nothing about the port that is not HTTPS.
    assert "Strict-Transport-Security" not in redirect.headers


async def test_the_promise_of_https_follows_the_certificate_that_is_served_without_a_reload(front: Front) -> None:
    before = await front.workers()
    reader, writer = await open_websocket(front)
    front.put(of_a_user().server)
    await _promises(front)
    front.put(front.made.server)
    await _promises(front, whether=False)
    assert await front.workers() == before
    assert await echo(reader, writer, b"still here") == b"still here"
    writer.close()


async def _promises(front: Front, *, whether: bool = True) -> None:
    async with httpx.AsyncClient(verify=anybody()) as client:

        async def as_it_should() -> bool:
            # The metrics' address needs no server, and counts for no limit.
            answer = await client.get(f"{front.https}/metrics")
            return ("Strict-Transport-Security" in answer.headers) is whether

        await until(as_it_should, f"HSTS is {whether}: {front.log_text()}", PATIENCE_SECONDS, poll_seconds=0.1)


async def test_metrics_never_pass(front: Front) -> None:
    for path in ("/metrics", "/metrics/", "/metrics?x=1"):
        answer = await front.client.get(front.https + path)
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert front.seen == []
    own = await front.client.get(f"{front.statistics}/metrics")
    assert "haproxy_backend_active_servers" in own.text


async def test_without_a_server_clients_get_a_problem_and_open_sockets_live_on(front: Front) -> None:
    """As in a database outage: every /readyz is 503 at once."""
    reader, writer = await open_websocket(front)
    front.ready = False
    await front.status_is(503)
    answer = await front.client.get(f"{front.https}/x")
    assert 5 <= int(answer.headers["Retry-After"]) <= 10
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["X-Request-Id"]
    assert await echo(reader, writer, b"still here") == b"still here"
    front.ready = True
    await front.status_is(200)
    assert await echo(reader, writer, b"and now") == b"and now"
    writer.close()


async def test_what_a_full_server_cannot_take_waits_and_is_then_refused(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, server_connections=1), queue="700ms") as front:
        held = asyncio.create_task(front.client.get(f"{front.https}/held"))
        await until(lambda: _reached(front, "/held"), "the first request is at the server", PATIENCE_SECONDS)
        refused = await front.client.get(f"{front.https}/second")
        waiting = asyncio.create_task(front.client.get(f"{front.https}/third"))
        front.let_go.set()
        assert (await held).status_code == httpx.codes.OK
        assert (await waiting).status_code == httpx.codes.OK
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 5 <= int(refused.headers["Retry-After"]) <= 10
    assert refused.json()["code"] == "unavailable"
    assert [request.path for request in front.seen] == ["/held", "/third"]


async def test_who_is_sent_to_a_dead_server_is_sent_to_another_one_at_once(tmp_path: Path) -> None:
    """And not to the dead one again, for as long as the checks have not found out."""
    async with in_front(tmp_path, dead=True) as front:
        answers = [await front.client.get(f"{front.https}/x") for _ in range(8)]
        assert {answer.status_code for answer in answers} == {httpx.codes.OK}
        lines = (await front.command("show stat")).removeprefix("# ").splitlines()
    [dead] = [row for row in csv.DictReader(lines) if row["svname"] == "dead"]
    assert int(dead["wredis"]) > 0, "nobody was sent there"
    assert dead["wretr"] == "0"


async def _reached(front: Front, path: str) -> bool:
    return any(request.path == path for request in front.seen)


async def test_the_log_is_json_without_queries(front: Front) -> None:
    await front.client.get(f"{front.https}/find?ticket=secret")

    async def logged() -> bool:
        return "/find" in front.log_text().replace("\\/", "/")

    await until(logged, "the request is logged", PATIENCE_SECONDS)
    (line,) = [line for line in front.logged("request") if line["path"] == "/find"]
    assert (line["method"], line["status"], line["server"]) == ("GET", 200, "chat1")
    assert "secret" not in front.log_text()


TRUSTING = replace(ROUTE, trusted_proxies=("127.0.0.0/8",))


def _from(client: str) -> dict[str, str]:
    """The header of a request that a proxy on this machine passes on; its client claimed another address before."""
    return {"X-Forwarded-For": f"192.0.2.66, {client}"}


async def test_a_trusted_proxy_names_the_client_by_the_last_entry_that_it_added(tmp_path: Path) -> None:
    async with in_front(tmp_path, TRUSTING) as front:
        for client in ("203.0.113.1", "203.0.113.2", "2001:db8::1"):
            # Over one connection, as proxies do.
            await front.client.get(f"{front.https}/x", headers=_from(client))
        await front.client.get(f"{front.https}/x")
        seen = [request.headers["X-Forwarded-For"] for request in front.seen]
    assert seen == ["203.0.113.1", "203.0.113.2", "2001:db8::1", "127.0.0.1"]


async def test_whoever_a_trusted_proxy_did_not_add_is_not_believed(tmp_path: Path) -> None:
    """Lines of its own that a client sends before the proxy's, and words that are no address."""
    async with in_front(tmp_path, TRUSTING) as front:
        twice = [("X-Forwarded-For", "192.0.2.66"), ("X-Forwarded-For", "203.0.113.1")]
        await front.client.get(f"{front.https}/x", headers=twice)
        await front.client.get(f"{front.https}/x", headers={"X-Forwarded-For": "203.0.113.1, unknown"})
        seen = [request.headers.getall("X-Forwarded-For") for request in front.seen]
    assert seen == [["203.0.113.1"], ["127.0.0.1"]]


BALANCER, HEADED = "127.9.0.1", replace(ROUTE, proxy_protocol_from=("127.9.0.0/16",))

VERSION_1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n"

VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([203, 0, 113, 8, 192, 0, 2, 1]) + b"\x9c\x40\x01\xbb"


async def test_a_named_load_balancer_names_the_client_by_a_proxy_header(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(HEADED, limits=ClientLimits(requests_per_second=1))) as front:
        for header in (VERSION_1, VERSION_2):
            assert await _status(front, BALANCER, header) == httpx.codes.OK
        statuses = [await _status(front, BALANCER, VERSION_1) for _ in range(12)]
        assert await _status(front, BALANCER, VERSION_2) == httpx.codes.OK, "limits count each client by itself"
        redirected = await _status(front, BALANCER, VERSION_1, tls=False)
        seen = [request.headers["X-Forwarded-For"] for request in front.seen]
    assert statuses[-1] == httpx.codes.TOO_MANY_REQUESTS
    assert seen[:2] == ["203.0.113.7", "203.0.113.8"]
    assert redirected == httpx.codes.PERMANENT_REDIRECT


async def test_a_proxy_header_is_required_of_load_balancers_and_refused_of_all_others(tmp_path: Path) -> None:
    async with in_front(tmp_path, HEADED) as front:
        assert await _status(front, BALANCER, b"") is None
        for header in (VERSION_1, VERSION_2):
            assert await _status(front, "127.0.0.1", header) is None
            assert await _status(front, "127.0.0.1", header, tls=False) in {None, 400}
        assert await _status(front, "127.0.0.1", b"") == httpx.codes.OK
    assert [request.headers["X-Forwarded-For"] for request in front.seen] == ["127.0.0.1"]


async def test_the_operator_asks_with_a_proxy_header_where_one_is_expected_of_it(tmp_path: Path) -> None:
    route = replace(ROUTE, proxy_protocol_from=("127.0.0.0/8",))
    async with in_front(tmp_path, route, plain=False) as front, aiohttp.ClientSession() as session:
        target = Target("127.0.0.1", "localhost", front.made.authority.certificate, front.https_port, headed=True)
        prober = Prober(session)

        async def well() -> bool:
            return (await prober.probe_once(target, PATIENCE_SECONDS)).ok

        await until(well, "the operator is answered", PATIENCE_SECONDS)
        stranger = ensure(None, None, NAMES, dt.datetime.now(dt.UTC)).authority.certificate
        assert not (await prober.probe_once(replace(target, authority=stranger), PATIENCE_SECONDS)).ok
        front.ready = False
        await until(lambda: _not(well), "the operator is told of an outage", PATIENCE_SECONDS)


async def _not(condition: Callable[[], Awaitable[bool]]) -> bool:
    return not await condition()


async def _status(front: Front, source: str, header: bytes, *, tls: bool = True) -> int | None:
    """The status of a request from an address of this machine whose connection begins with a header; None where the
    connection is refused."""
    port = front.https_port if tls else front.http_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        writer.write(header)
        if tls:
            await writer.start_tls(front.trusting(), server_hostname="localhost")
        writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
    except OSError:
        return None
    finally:
        writer.close()
    return int(head.split()[1]) if head else None


async def test_too_many_requests_of_one_address_are_refused_and_others_pass(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(TRUSTING, limits=ClientLimits(requests_per_second=2))) as front:
        answers = [await front.client.get(f"{front.https}/x", headers=_from("203.0.113.1")) for _ in range(25)]
        other = await front.client.get(f"{front.https}/x", headers=_from("203.0.113.2"))
    statuses = [answer.status_code for answer in answers]
    # Twenty in ten seconds are two a second.
    assert statuses[:20] == [200] * 20
    assert set(statuses[20:]) == {429}
    assert other.status_code == httpx.codes.OK
    refused = answers[-1]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 5 <= int(refused.headers["Retry-After"]) <= 10
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["X-Request-Id"]
    assert len(front.seen) == 21, "what is refused never reaches a server"


async def test_open_sockets_of_one_address_are_counted_until_they_end(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, limits=ClientLimits(connections=3))) as front:
        sockets = [await open_websocket(front) for _ in range(3)]
        answer = await front.client.get(f"{front.https}/x")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        for reader, writer in sockets:
            assert await echo(reader, writer, b"open ones live on") == b"open ones live on"
        sockets[0][1].close()
        await front.status_is(200)
        for _, writer in sockets[1:]:
            writer.close()
