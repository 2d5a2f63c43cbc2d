"""HAProxy's page of metrics and its log, as a real HAProxy writes them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from chatoperator.parts.ingress.clients import ClientLimits
from chatoperator.parts.ingress.haproxy import SERVER_SLOTS, render
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.front import PATIENCE_SECONDS, ROUTE, Front, in_front, write_files
from tests.support.haproxy import running
from tests.support.prometheus import check
from tests.support.rulequeries import read_by_rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.integration

SERIES_MAX = 600

OF_HAPROXY_ITSELF = {
    'haproxy_process_failed_resolutions counter metrics should have "_total" suffix',
}
"""Findings about names that are not ours."""

USED = {
    "haproxy_backend_active_servers",
    "haproxy_backend_current_queue",
    "haproxy_backend_http_responses_total",
    "haproxy_backend_queue_time_average_seconds",
    "haproxy_frontend_current_sessions",
    "haproxy_frontend_http_responses_total",
    "haproxy_process_current_connections",
    "haproxy_process_current_ssl_connections",
    "haproxy_process_max_connections",
    *(selector.metric for selector in read_by_rules() if selector.metric.startswith("haproxy_")),
}
"""Metrics that rules and dashboards are made of."""


def _series(page: str) -> list[str]:
    return [line for line in page.splitlines() if line and not line.startswith("#")]


def _names(page: str) -> set[str]:
    return {line.partition("{")[0].partition(" ")[0] for line in _series(page)}


@contextlib.asynccontextmanager
async def _with_all_slots(folder: Path) -> AsyncIterator[Front]:
    """HAProxy with everything that the spec can turn on, and no server in any slot."""
    front = Front(folder, write_files(folder))
    route = replace(ROUTE, fronted=True, limits=ClientLimits(100, 100), proxy_protocol_from=("10.0.0.0/8",))
    text = front.at_home(render(route))
    assert f"server-template chat {SERVER_SLOTS}" in text
    # Nobody listens there.
    front.configuration.write_text(text.replace("parse-resolv-conf", "nameserver none 127.0.0.1:9"))
    with running(front.configuration):
        await front.listens()
        yield front
    await front.client.aclose()


async def test_a_page_without_a_query_is_small_however_many_slots_there_are(tmp_path: Path) -> None:
    async with _with_all_slots(tmp_path) as front:
        for query in ("", "?"):
            page = (await front.client.get(f"{front.statistics}/metrics{query}")).text
            tell(f"HAProxy's page has {len(_series(page))} series")
            assert len(_series(page)) <= SERIES_MAX
            assert _names(page) >= USED
            assert set(check("metrics", page).splitlines()) <= OF_HAPROXY_ITSELF


async def test_a_scrape_gets_the_scopes_that_it_names(tmp_path: Path) -> None:
    async with _with_all_slots(tmp_path) as front:
        address = f"{front.statistics}/metrics"
        servers = (await front.client.get(f"{address}?scope=server")).text
        everything = (await front.client.get(f"{address}?scope=*")).text
    assert len([line for line in _series(servers) if line.startswith("haproxy_server_weight{")]) == SERVER_SLOTS
    assert not [name for name in _names(servers) if not name.startswith("haproxy_server_")]
    assert _names(everything) > _names(servers)


async def test_lines_of_the_log_have_the_servers_time_format_and_the_id_of_the_answer(tmp_path: Path) -> None:
    began = dt.datetime.now(dt.UTC)
    async with in_front(tmp_path) as front:
        answer = await front.client.get(f"{front.https}/find")
        own = await front.client.get(f"{front.https}/own", headers={"X-Request-Id": "from-a-client"})
        # Too early for a request: HAProxy's own answer, without an id.
        _, writer = await asyncio.open_connection("127.0.0.1", front.http_port)
        writer.write(b"GARBAGE\r\n\r\n")

        async def logged() -> bool:
            return {200, 400} <= {line["status"] for line in front.logged("request")}

        await until(logged, "all are logged", PATIENCE_SECONDS)
        writer.close()
        lines = front.logged("request")
    by_path = {line["path"]: line for line in lines}
    assert by_path["/find"]["request_id"] == answer.headers["X-Request-Id"]
    assert by_path["/own"]["request_id"] == own.headers["X-Request-Id"] == "from-a-client"
    assert by_path["/find"]["queue_milliseconds"] == 0
    for line in lines:
        at = dt.datetime.strptime(line["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)
        assert began <= at <= dt.datetime.now(dt.UTC)
    assert answer.status_code == httpx.codes.OK


async def test_requests_that_no_server_took_are_counted_once_and_apart_from_what_servers_answer(tmp_path: Path) -> None:
    """Both are 503 to clients; the objective requests_forwarded is about the first only."""
    async with in_front(tmp_path, replace(ROUTE, server_connections=1), queue="700ms") as front:
        client, https = front.client, front.https
        before = await _of_the_backend(front)
        for path in ("/found", "/unavailable"):
            await client.get(f"{https}{path}")
        assert await _of_the_backend(front) == before.more(requests=2)

        held = asyncio.create_task(client.get(f"{https}/held"))
        await front.reached("/held")
        assert (await client.get(f"{https}/waits")).status_code == httpx.codes.SERVICE_UNAVAILABLE
        front.let_go.set()
        await held
        assert await _of_the_backend(front) == before.more(requests=4, not_taken=1)

        front.ready = False
        await front.status_is(httpx.codes.SERVICE_UNAVAILABLE)
        without = await _of_the_backend(front)
        await client.get(f"{https}/nowhere")
        assert await _of_the_backend(front) == without.more(requests=1, not_taken=1)


async def test_a_request_that_another_server_takes_is_no_connection_error(tmp_path: Path) -> None:
    async with in_front(tmp_path, dead=True) as front:
        before = await _of_the_backend(front)
        answers = [await front.client.get(f"{front.https}/x") for _ in range(8)]
        assert {answer.status_code for answer in answers} == {httpx.codes.OK}
        assert await _of_the_backend(front) == before.more(requests=8)


class _Counts(NamedTuple):
    """HAProxy's counters of the servers behind it."""

    requests: int
    not_taken: int

    def more(self, requests: int, not_taken: int = 0) -> _Counts:
        """These, and so many more."""
        return _Counts(self.requests + requests, self.not_taken + not_taken)


async def _of_the_backend(front: Front) -> _Counts:
    page = (await front.client.get(f"{front.statistics}/metrics")).text

    def read(name: str) -> int:
        found = re.search(rf'^haproxy_backend_{name}_total{{proxy="chatserver"}} (\d+)$', page, re.MULTILINE)
        assert found, page
        return int(found[1])

    return _Counts(read("sessions"), read("connection_errors"))
