"""A chat's parts may answer with anything: it is no reading, and costs so many bytes and so much time at most."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.observed import Answer, Reading
from chatoperator.parts.ingress.tls.self_signed import ensure
from chatoperator.probes import prober as probe
from chatoperator.probes.connection import session
from chatoperator.probes.prober import METRICS_BYTES_MAX, Prober, Target
from chatoperator.probes.tls import context
from chatoperator.reports import AgentReport
from tests.support.hostile import BODIES, COUNTED, MIB, PAGE, REPORT, TRANSPORTS, Hostile, once, server_tls, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

DEADLINE_SECONDS = 60
"""For all of them together, on a busy machine: each is given up after 3 to 5 s."""

BUFFERED_BYTES = 12 * MIB
"""That the two sides of a connection hold on this machine beside what was read."""

ANSWERS: dict[str, Callable[[], Iterable[bytes]]] = {
    **TRANSPORTS,
    **{f"a good answer of {name}": once(whole(body)) for name, body in BODIES.items()},
    **{
        f"{name}, slowly": answer
        for name, answer in TRANSPORTS.items()
        if name in {"endless headers", "endless chunks"}
    },
    "a right one, slowly": once(whole(COUNTED + "# more\n" * 1000)),
}


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with session() as made:
        yield Prober(made)


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[dict[str, Hostile]]:
    """A server for each answer, all on one port."""
    async with contextlib.AsyncExitStack() as stack:
        made: dict[str, Hostile] = {}
        port = 0
        for number, (name, answer) in enumerate(ANSWERS.items(), start=1):
            slowly = name.endswith("slowly")
            server = Hostile(answer, host=f"127.0.9.{number}", port=port, tls=tls, slowly=slowly)
            made[name] = await stack.enter_async_context(server)
            port = server.port
        yield made


async def asked(servers: Mapping[str, Hostile], ask: Callable[[Hostile], Awaitable[Any]]) -> dict[str, Any]:
    """What came of each, all at once."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        found = await asyncio.gather(*(ask(server) for server in servers.values()))
    assert {
        name: server.sent for name, server in servers.items() if server.sent > METRICS_BYTES_MAX + BUFFERED_BYTES
    } == {}
    assert [name for name, server in servers.items() if not server.asked] == []
    return dict(zip(servers, found, strict=True))


async def test_nothing_that_a_server_answers_wrongly_is_a_reading(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening() as servers, Hostile(once(whole(COUNTED)), host="127.0.8.1") as good:
        ports = {server.port for server in servers.values()}
        monkeypatch.setattr(probe, "METRICS_PORT", ports.pop())

        async def reading(server: Hostile) -> Reading | None:
            return (await prober.readings({"a": server.host}))["a"]

        found = await asked(servers, reading)
        monkeypatch.setattr(probe, "METRICS_PORT", good.port)
        assert await reading(good) == Reading(42, draining=False)
    assert {name: told for name, told in found.items() if told is not None} == {}


async def test_nothing_that_an_agent_answers_wrongly_is_a_report(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening() as servers, Hostile(once(whole(REPORT)), host="127.0.8.1") as good:
        monkeypatch.setattr(probe, "AGENT_PORT", next(iter(servers.values())).port)
        found = await asked(servers, lambda server: prober.agent(server.host))
        monkeypatch.setattr(probe, "AGENT_PORT", good.port)
        assert await prober.agent(good.host) == AgentReport("a", "b", None)
    assert {name: told for name, told in found.items() if told is not None} == {}


@pytest.mark.parametrize(
    "name",
    ["endless interim answers", "an endless chunk's extension", "endless chunks of a byte", "endless trailers"],
)
async def test_what_a_parser_skips_ends_by_its_bytes_however_long_an_answer_may_take(
    prober: Prober, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(probe, "SCRAPE_TIMEOUT_SECONDS", 10 * DEADLINE_SECONDS)
    async with Hostile(TRANSPORTS[name]) as server, asyncio.timeout(DEADLINE_SECONDS):
        monkeypatch.setattr(probe, "METRICS_PORT", server.port)
        assert await prober.readings({"a": server.host}) == {"a": None}


@pytest.mark.parametrize("part", ["interim answers", "headers"])
async def test_the_bytes_of_tls_are_bounded_too(prober: Prober, tls: ssl.SSLContext, part: str) -> None:
    target_seconds = 10 * DEADLINE_SECONDS
    async with Hostile(TRANSPORTS[f"endless {part}"], tls=tls) as server, asyncio.timeout(DEADLINE_SECONDS):
        answer = await prober.probe_once(Target(server.host, "localhost", None, server.port), target_seconds)
    assert not answer.ok
    assert len(answer.message) < 400


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    return server_tls(tmp_path)


GOOD_STATUS = (
    "a good answer of ",
    "a packed bomb",
    "an endless body",
    "endless chunks",
    "a right one",
    "an endless line that counts",
)
"""What begins like an answer of 200 is one: only the status counts, and nothing that is said of the volume."""


async def test_whatever_an_ingress_answers_is_an_answer_in_short_words(prober: Prober, tls: ssl.SSLContext) -> None:
    async with listening(tls) as servers:
        found = await asked(servers, lambda server: prober.probe(Target(server.host, "localhost", None, server.port)))
    assert [name for name, answer in found.items() if not isinstance(answer, Answer) or answer.volume_full] == []
    wrong = {name: answer for name, answer in found.items() if answer.ok and not name.startswith(GOOD_STATUS)}
    assert wrong == {}
    assert [name for name, answer in found.items() if len(answer.message) > 400 or "xxxx" in answer.message] == []


async def test_no_server_chooses_the_numbers_of_a_handshake(prober: Prober, tls: ssl.SSLContext) -> None:
    """Diffie-Hellman with 10,000 bits takes a second of CPU."""
    for authority in (None, ensure(None, None, ("a",), dt.datetime.now(dt.UTC)).authority.certificate):
        ciphers = [cipher["name"] for cipher in context(authority).get_ciphers()]
        assert [name for name in ciphers if not name.startswith(("ECDHE-", "TLS_"))] == []
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("DHE")
    async with Hostile(once(PAGE), tls=tls) as server:
        answer = await prober.probe_once(Target(server.host, "localhost", None, server.port), 5)
    assert not answer.ok
    assert server.asked == 0


async def test_no_cookie_is_kept_or_sent_back(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    page = whole(COUNTED, *(f"Set-Cookie: a{number}=b; Path=/" for number in range(100)))
    async with Hostile(once(page)) as server:
        monkeypatch.setattr(probe, "METRICS_PORT", server.port)
        for _ in range(2):
            assert await prober.readings({"a": server.host}) == {"a": Reading(42, draining=False)}
        assert server.requests[0] == server.requests[1]
        assert b"ookie" not in server.requests[1]
