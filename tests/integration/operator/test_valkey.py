"""A real Valkey and its real exporter with what the operator renders: TLS, users and their rights, metrics."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import os
import re
import secrets
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from chatoperator.desired import bus
from chatoperator.desired.manifests import render
from chatoperator.observed import Observed
from chatoperator.parts.bus.valkey import CONFIG_FILE, METRICS_PORT, SECRET_FOLDER, SOCKET
from chatserver.bus_settings import BusSettings, ValkeyAddress
from chatserver.errors import ServiceUnavailable
from chatserver.fanout.valkey.link import open_link
from tests.support.chatclusters import cluster, desired
from tests.support.dashboards import queries
from tests.support.debian import unpacked
from tests.support.plainhttp import NO_TLS
from tests.support.ports import free_port
from tests.support.promql import VALKEY
from tests.support.rulequeries import read_by_rules
from tests.support.valkey import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

EXPORTER = ("prometheus-redis-exporter", "libc6")
START_SECONDS = 60

FROM_DASHBOARDS = {name for _, expression in queries() for name in re.findall(r"\bvalkey_\w+", expression)}
FROM_RULES = {selector.metric for selector in read_by_rules() if selector.metric.startswith("valkey_")}


class Pod(NamedTuple):
    """A Valkey and its exporter, as in a pod.

    Attributes:
        folder: What the pod has mounted, and the socket.
        port: Of Valkey, with TLS.
        metrics_port: Of the exporter.
        password: Of the chatservers.
    """

    folder: Path
    port: int
    metrics_port: int
    password: str


@pytest.fixture
def valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    resolve = socket.getaddrinfo
    # This machine's DNS does not know the names of pods.
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **options: resolve("127.0.0.1", *rest, **options))
    spec = cluster(bus={"type": "Valkey"})
    made = bus.decide(
        spec,
        Observed({}, ()),
        cluster_domain="cluster.local",
        now=dt.datetime.now(dt.UTC),
        new_secret=lambda: secrets.token_urlsafe(32),
    )
    manifests = {(one["kind"], one["metadata"]["name"]): one for one in render(desired(spec, bus=made))}
    for key, value in manifests["Secret", "demo-bus"]["data"].items():
        (tmp_path / key).write_bytes(base64.b64decode(value))
    port, metrics_port = free_port(), free_port()
    text = manifests["ConfigMap", "demo-bus"]["data"][CONFIG_FILE]
    for old, new in (
        (SECRET_FOLDER, str(tmp_path)),
        (SOCKET, f"{tmp_path}/valkey.sock"),
        ("port 6379", f"port {port}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / CONFIG_FILE).write_text(text)
    containers = {
        one["name"]: one for one in manifests["StatefulSet", "demo-bus"]["spec"]["template"]["spec"]["containers"]
    }
    exporter = [str(unpacked("usr/bin/prometheus-redis-exporter", EXPORTER))] + [
        argument.replace(SOCKET, f"{tmp_path}/valkey.sock").replace(f":{METRICS_PORT}", f":{metrics_port}")
        for argument in containers["exporter"]["args"]
    ]
    environment = {**os.environ, "REDIS_PASSWORD": (tmp_path / "metrics-password").read_text()}
    with _running([str(program()), str(tmp_path / CONFIG_FILE)]), _running(exporter, environment):
        _until((tmp_path / "valkey.sock").exists)
        yield Pod(tmp_path, port, metrics_port, (tmp_path / "password").read_text())


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str] | None = None) -> Iterator[None]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _until(holds: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def _call(
    pod: Pod, *command: str, username: str = "chat", host: str = "demo-bus-0.demo-bus.chat.svc.cluster.local"
) -> Any:
    """The reply to a command of a chatserver that has the mounted files."""
    settings = BusSettings(
        bus_type="Valkey",
        bus_username=username,
        bus_password_file=pod.folder / "password",
        bus_ca_file=pod.folder / "ca.crt",
    )
    link = await open_link(ValkeyAddress(host, pod.port, tls=True), settings, lambda _: None)
    try:
        return await link.call(*command)
    finally:
        link.close()


async def test_chatservers_connect_with_what_they_mount_and_may_do_nothing_else(valkey: Pod) -> None:
    assert await _call(valkey, "SADD", "chat:user:1", "server") == 1
    for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("SADD", "elsewhere", "x"), ("KEYS", "*")):
        with pytest.raises(ServiceUnavailable):
            await _call(valkey, *command)
    for username in ("default", "metrics"):
        with pytest.raises(ServiceUnavailable):
            await _call(valkey, "PING", username=username)
    # Not a name of a pod of this chat.
    with pytest.raises(ServiceUnavailable):
        await _call(valkey, "PING", host="localhost")


async def test_the_exporter_shows_what_rules_dashboards_and_runbooks_read(valkey: Pod) -> None:
    pages: list[str] = []

    def answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            pages.append(httpx.get(f"http://127.0.0.1:{valkey.metrics_port}/metrics", verify=NO_TLS).text)
        return bool(pages) and "valkey_up 1" in pages[-1]

    _until(answered)
    names = {line.partition("{")[0].partition(" ")[0] for line in pages[-1].splitlines() if not line.startswith("#")}
    assert FROM_RULES
    assert sorted((FROM_RULES | FROM_DASHBOARDS | VALKEY) - names) == []
    assert valkey.password not in pages[-1]
