"""The page of metrics stays until a reader that comes every second has its last values."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.metrics import Metrics, MetricsServer, page
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_SECONDS = 3600.0
"""Longer than any test."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetricsServer]:
    monkeypatch.setattr(page, "LAST_READ_SECONDS", LONG_SECONDS)
    made = MetricsServer(Metrics().registry, "127.0.0.1", 0)
    made.start()
    yield made
    made.stop()


def read(server: MetricsServer) -> None:
    assert httpx.get(f"http://127.0.0.1:{server.port}/metrics", verify=NO_TLS, trust_env=False).is_success


def test_nobody_is_awaited_who_has_not_read_lately(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.await_reader()
    read(server)
    monkeypatch.setattr(page, "READ_LATELY_SECONDS", 0.0)
    server.await_reader()


def test_a_reader_is_awaited_until_it_has_read_once_more(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "READ_LATELY_SECONDS", LONG_SECONDS)
    read(server)
    waiting = threading.Thread(target=server.await_reader)
    waiting.start()
    # As soon as the thread waits, or before it: a read that began before does not count.
    while waiting.is_alive():
        read(server)
    waiting.join()


def test_a_reader_that_does_not_come_is_not_awaited_for_ever(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "READ_LATELY_SECONDS", LONG_SECONDS)
    monkeypatch.setattr(page, "LAST_READ_SECONDS", 0.0)
    read(server)
    server.await_reader()
