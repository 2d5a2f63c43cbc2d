"""A hundred chatservers found by DNS, and all replaced at once: by the same process with the same configuration.

What it guards against: answers that do not fit (haproxy#1421), slots that stay empty after a mass replacement (#3400).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chatoperator.parts.ingress.haproxy import render
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.front import ROUTE, Front, write_files
from tests.support.haproxy import running
from tests.support.nameserver import NameServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.integration

COUNT = 100
"""The largest maxReplicas."""

HOST = f"{'n' * 40}-chatserver.{'s' * 63}.svc.cluster.local"
"""The longest names there are: each name is in each answer."""

FOUND_SECONDS = 60

AT_ONCE = 20


async def test_a_hundred_servers_are_found_and_all_replaced_by_others(tmp_path: Path) -> None:
    first, others = ([f"127.{block}.0.{number}" for number in range(1, COUNT + 1)] for block in (1, 2))
    names = NameServer(tmp_path, HOST)
    names.publish(first)
    front = Front(tmp_path, write_files(tmp_path))
    async with _servers([*first, *others], front.behind):
        front.configuration.write_text(_found_by(names, front))
        with names.running(), running(front.configuration) as process:
            await front.listens()
            took = await _all_answer(front, set(first))
            before = await front.workers()
            names.publish(others)
            replaced = await _all_answer(front, set(others))
            tell(
                f"{COUNT} servers get requests {took:.1f} s after the start, {COUNT} others {replaced:.1f} s after DNS"
            )
            await _none_answers(front, set(first))
            assert await front.workers() == before
            assert process.poll() is None
    await front.client.aclose()


def _found_by(names: NameServer, front: Front) -> str:
    """The configuration as it is but for ports: those of HAProxy, of the name server and of the servers."""
    text = front.at_home(render(replace(ROUTE, servers=HOST, servers_port=front.behind)))
    text, count = re.subn("parse-resolv-conf", f"nameserver local 127.0.0.1:{names.port}", text)
    assert count == 1
    return text


@contextlib.asynccontextmanager
async def _servers(addresses: Sequence[str], port: int) -> AsyncIterator[None]:
    """Servers on addresses of the loopback network; each answers everything with its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("sockname")[0]
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(own)}\r\n\r\n{own}".encode())
        writer.close()

    servers = [await asyncio.start_server(answer, address, port) for address in addresses]
    yield
    for server in servers:
        server.close()


async def _answers(front: Front) -> set[str]:
    """Who answers some requests at once."""
    answers = await asyncio.gather(*(front.client.get(f"{front.https}/x") for _ in range(AT_ONCE)))
    return {answer.text for answer in answers if answer.is_success}


async def _all_answer(front: Front, wanted: set[str]) -> float:
    """Until each of them has; returns the seconds it took."""
    seen: set[str] = set()

    async def all_have() -> bool:
        seen.update(await _answers(front))
        return wanted <= seen

    return await until(all_have, f"all {len(wanted)} get requests", FOUND_SECONDS, poll_seconds=0.02)


async def _none_answers(front: Front, gone: set[str]) -> None:
    """Until none of them gets requests any more, in several rounds."""

    async def none() -> bool:
        rounds = [await _answers(front) for _ in range(3 * COUNT // AT_ONCE)]
        return not gone & set().union(*rounds)

    await until(none, "the ones before get no requests", FOUND_SECONDS)
