"""The probe's accounts: enrolled by `chatserver migrate`, reached by nobody, able to do nothing else, and pruned."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from typing import TYPE_CHECKING

import pytest

from chatcluster_client import Item, LiveClient, Positions, Problem, RestClient
from chatserver.http.context import PROBE_CALLS
from chatserver.routes import CALLS
from chatserver.storage import probe as storage
from tests.support import forks
from tests.support.probe import ProbeProcess
from tests.support.server import IMPORTED, ServerProcess, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.people import Server

pytestmark = pytest.mark.integration

ROUND_TRIPS = "chatprobe_round_trip_seconds_count"
SIGN_IN_FAILURES = 'chatprobe_failures_total{step="sign_in"}'


def enrol(dsn: str, *tokens: str) -> str:
    """Run `chatserver migrate` as the operator's Job does; returns its log."""
    hashes = ",".join(hashlib.sha256(token.encode()).hexdigest() for token in tokens)
    code, printed = forks.run("chatserver", ["migrate"], environment(dsn, CHAT_PROBE_TOKEN_HASHES=hashes), IMPORTED)
    assert code == 0, printed
    return printed


def tokens() -> tuple[str, str]:
    return secrets.token_urlsafe(32), secrets.token_urlsafe(32)


def write(file: Path, pair: tuple[str, str]) -> None:
    file.touch(mode=0o600)
    file.write_text("\n".join(pair))


@pytest.fixture(scope="module")
def enrolled(process: ServerProcess) -> Iterator[tuple[ServerProcess, tuple[str, str]]]:
    """A server whose probe is enrolled, and its tokens."""
    pair = tokens()
    enrol(process.dsn, *pair)
    yield process, pair
    enrol(process.dsn)


async def test_a_rotation_signs_the_old_tokens_out_and_the_probe_takes_the_new_ones(
    read_dsn: Callable[[], str], tmp_path: Path
) -> None:
    first, second, file = tokens(), tokens(), tmp_path / "tokens"
    with ServerProcess(read_dsn(), "one") as server:
        await asyncio.to_thread(server.wait_ready)
        enrol(server.dsn, *first)
        assert "error" not in enrol(server.dsn, *first), "again it changes nothing"
        write(file, first)
        with ProbeProcess(server.url, "--token-file", str(file)) as probe:
            await probe.wait_more(ROUND_TRIPS)
            enrol(server.dsn, *second)
            await probe.wait(SIGN_IN_FAILURES, lambda value: value >= 1)
            write(file, second)
            await probe.wait_more(ROUND_TRIPS)
            enrol(server.dsn)
            before = await probe.metric(SIGN_IN_FAILURES)
            await probe.wait(SIGN_IN_FAILURES, lambda value: value > before)
            assert set((await probe.invariants()).values()) == {0.0}
            assert not any(token in probe.log_text() + server.log_text() for token in (*first, *second))


async def test_nobody_finds_the_probe_writes_to_it_or_signs_in_as_it(
    enrolled: tuple[ServerProcess, tuple[str, str]],
) -> None:
    server, _ = enrolled
    async with await RestClient.sign_in(server.url, "+14155550123", username=f"u{uuid.uuid4().hex[:8]}") as user:
        for number in storage.ACCOUNTS:
            group = {"group_name": "x", "members": [number]}
            for method, path, body, params in (
                ("GET", "/api/users", None, {"phone_number": number}),
                ("POST", "/api/messages", {"to": number, "text": "x", "client_id": str(uuid.uuid4())}, {}),
                ("POST", "/api/groups", group, {}),
                ("POST", "/api/auth/code", {"phone_number": number}, {}),
            ):
                with pytest.raises(Problem) as caught:
                    await user.call(method, path, body, **params)
                assert caught.value.status in {404, 422}, (method, path)


async def test_a_token_of_the_probe_serves_for_nothing_but_its_work(
    enrolled: tuple[ServerProcess, tuple[str, str]],
) -> None:
    server, (first, _) = enrolled
    number, text = "+14155550124", "to somebody"
    async with await RestClient.sign_in(server.url, number), RestClient(server.url, first) as probe:
        (chat,) = (await probe.chats())["chats"]
        signed_in = [call for call in CALLS if call.signed_in]
        assert {call.route for call in signed_in} > PROBE_CALLS - {"GET /api/ws"}
        for call in signed_in:
            if call.route in PROBE_CALLS:
                continue
            path = call.path
            for name in ("chat_id", "group_id", "user_id", "device_id", "seq", "message_id", "emoji"):
                path = path.replace("{" + name + "}", str(chat["chat_id"]))
            with pytest.raises(Problem) as caught:
                await probe.call(call.method, path, {} if call.body else None)
            assert (caught.value.status, caught.value.code) == (403, "forbidden"), call.route
        async with LiveClient(probe) as live:
            with pytest.raises(Problem, match="user_not_found"):
                await live.send(text, to=number)
            assert (await live.send("a probe's", chat_id=chat["chat_id"])).seq == chat["last_seq"] + 1


async def test_old_messages_go_and_readers_continue_with_the_next_number(
    server: Server, read_dsn: Callable[[], str]
) -> None:
    pair = tokens()
    with ServerProcess(read_dsn(), "one") as process:
        await asyncio.to_thread(process.wait_ready)
        enrol(process.dsn, *pair)
        async with RestClient(process.url, pair[0]) as rest, RestClient(process.url, pair[1]) as other:
            (chat,) = (await rest.chats())["chats"]
            chat_id = chat["chat_id"]
            async with LiveClient(rest) as sender, LiveClient(other, Positions()) as reader:
                for number in range(1200):
                    await sender.send(str(number), chat_id=chat_id)
                seen = [item.seq async for item in _until(reader, 1201)]
                assert seen == list(range(1, 1202))
                await server.database.execute("UPDATE messages SET created_at = created_at - interval '2 days'")
                assert await storage.prune(server.database) == storage.PRUNE_BATCH
                assert await storage.prune(server.database) == 200
                assert await storage.prune(server.database) == 0, "the newest one stays"
                ack = await sender.send("after", chat_id=chat_id)
                assert ack.seq == 1202
                assert [item.seq async for item in _until(reader, 1202)] == [1202]
            # One that was away for longer than messages are kept gets what there is.
            async with LiveClient(other, Positions({chat_id: 5})) as late:
                assert [item.seq async for item in _until(late, 1202)] == [1201, 1202]


async def _until(live: LiveClient, seq: int) -> AsyncIterator[Item]:
    """The rows up to this one."""
    async with asyncio.timeout(60):
        async for item in live.items():
            if isinstance(item, Item):
                yield item
                if item.seq >= seq:
                    return
