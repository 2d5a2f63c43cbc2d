"""The prober against real sockets: readings, silence, and answers over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from chatoperator.observed import Reading
from chatoperator.parts.ingress.tls.self_signed import SERVER_DAYS, ensure
from chatoperator.probes import prober as probe
from chatoperator.probes.connection import session
from chatoperator.probes.parsing import parse_reading
from chatoperator.probes.prober import Prober, Target
from chatoperator.probes.tls import context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chatoperator.parts.credentials import SelfSigned

HELD = 0
"""In place of a status: no answer."""

PATIENCE_SECONDS = 20

PAGE = """\
# HELP chatserver_connections Open WebSockets.
# TYPE chatserver_connections gauge
chatserver_connections 42.0
# HELP chatserver_draining 1 while draining.
# TYPE chatserver_draining gauge
chatserver_draining 0.0
"""


@pytest.mark.parametrize(
    ("page", "reading"),
    [
        (PAGE, Reading(42, draining=False)),
        (PAGE.replace("draining 0.0", "draining 1.0"), Reading(42, draining=True)),
        (PAGE.replace("chatserver_connections 42.0", ""), None),
        (PAGE.replace("chatserver_draining 0.0", ""), None),
        (PAGE.replace("42.0", "many"), None),
        (PAGE.replace("42.0", "NaN"), None),
        ("", None),
        ("<html>", None),
    ],
)
def test_a_page_without_both_figures_is_no_reading_and_never_zero(page: str, reading: Reading | None) -> None:
    assert parse_reading(page) == reading


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with session() as made:
        yield Prober(made)


async def _serve(port_name: str, monkeypatch: pytest.MonkeyPatch, text: str, status: int) -> web.AppRunner:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    app = web.Application()
    app.add_routes([web.get("/metrics", answer), web.get("/readyz", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setattr(probe, port_name, runner.addresses[0][1])
    return runner


async def test_servers_are_read_at_once_and_silent_ones_are_none(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = await _serve("METRICS_PORT", monkeypatch, PAGE, 200)
    try:
        # 127.0.0.2 is this machine too, but nobody listens there.
        found = await prober.readings({"a": "127.0.0.1", "b": "127.0.0.2"})
    finally:
        await runner.cleanup()
    assert found == {"a": Reading(42, draining=False), "b": None}


async def test_an_error_page_is_no_reading(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = await _serve("METRICS_PORT", monkeypatch, PAGE, 500)
    try:
        assert await prober.readings({"a": "127.0.0.1"}) == {"a": None}
    finally:
        await runner.cleanup()


async def test_an_ingress_that_does_not_listen_is_no_answer_but_words(prober: Prober) -> None:
    answer = await prober.probe(Target("127.0.0.2", "localhost", None))
    assert not answer.ok
    assert answer.message.startswith("A request through the ingress failed: cannot connect: ")
    assert "object at 0x" not in answer.message


@contextlib.asynccontextmanager
async def _ingress(made: SelfSigned, folder: Path, statuses: list[int]) -> AsyncIterator[Target]:
    """A server that drains, and answers people with these statuses, one after the other; with HELD never."""
    (folder / "crt").write_text(made.server.certificate)
    (folder / "key").write_text(made.server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")

    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        status = statuses.pop(0) if request.query_string == "exclude=draining" else 503
        if status == HELD:
            await over.wait()
        return web.Response(status=status or 503)

    app = web.Application()
    app.add_routes([web.get("/readyz", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield Target("127.0.0.1", "localhost", made.authority.certificate, runner.addresses[0][1])
    finally:
        over.set()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("statuses", "ok"),
    [
        ([200], True),
        ([503, 200], True),
        ([503, 503, 200], True),
        ([503, 503, 503], False),
        ([HELD, 200], True),
        ([503, HELD, 200], True),
        ([HELD, HELD, HELD], False),
        ([HELD, 503, 503], False),
    ],
)
async def test_a_server_that_leaves_or_has_died_does_not_make_a_working_chat_look_broken(
    prober: Prober,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[int],
    ok: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(probe, "TRY_SECONDS", 0.1)
    # Whoever held on to the first try would not get to the good one.
    monkeypatch.setattr(probe, "ANSWER_TIMEOUT_SECONDS", PATIENCE_SECONDS if ok else 1)
    made = ensure(None, None, ("localhost",), dt.datetime.now(dt.UTC))
    async with _ingress(made, tmp_path, statuses) as target, asyncio.timeout(PATIENCE_SECONDS / 2):
        told = await prober.probe(target)
    assert told.ok is ok, told.message
    assert not statuses, "all tries are made that are needed, and no others"


async def test_one_try_is_one_request(prober: Prober, tmp_path: Path) -> None:
    made = ensure(None, None, ("localhost",), dt.datetime.now(dt.UTC))
    statuses = [503, 200]
    async with _ingress(made, tmp_path, statuses) as target:
        assert not (await prober.probe_once(target, PATIENCE_SECONDS)).ok
    assert statuses == [200]


async def test_a_certificate_that_has_ended_is_no_answer_but_words(prober: Prober, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    made = ensure(None, None, ("localhost",), now - dt.timedelta(days=SERVER_DAYS + 1))
    async with _ingress(made, tmp_path, [200] * 3) as target:
        told = await prober.probe(target)
    assert not told.ok
    assert "certificate has expired" in told.message


def test_a_users_certificate_is_taken_as_it_is_and_our_own_is_checked() -> None:
    assert context(None).verify_mode == ssl.CERT_NONE
    made = ensure(None, None, ("localhost",), dt.datetime.now(dt.UTC))
    assert context(made.authority.certificate).verify_mode == ssl.CERT_REQUIRED
