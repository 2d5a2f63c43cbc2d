"""The parts of one chat on loopback, all of them real, with traffic, and a Prometheus that scrapes them."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from monitoring.rules.rendering import rule_file
from postgresagent import metrics, report
from tests.support.devices import sign_in
from tests.support.front import in_front
from tests.support.postgres import PostgresCluster
from tests.support.postgrespod import FIRST, Pod
from tests.support.probe import ProbeProcess
from tests.support.prometheus import Prometheus, Target
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from tests.support.devices import Device
    from tests.support.front import Front

NAMESPACE, NAME = "chat", "demo"


class LiveChat:
    """PostgreSQL and its agent, two servers, HAProxy in front of the first, a probe through HAProxy, and two users.

    Attributes:
        prometheus: Has scraped every part, and evaluates the chart's rules.
        servers: On one database.
        front: Leads to the first of them.
    """

    def __init__(
        self, prometheus: Prometheus, servers: Sequence[ServerProcess], front: Front, devices: Sequence[Device]
    ) -> None:
        self.prometheus = prometheus
        self.servers = servers
        self.front = front
        self._devices = devices

    async def talk(self, messages: int = 5) -> None:
        """Messages from one server to the other, connections that open and close, and a request through HAProxy."""
        (first, second), (one, two) = self._devices, self.servers
        async with first.socket(one) as sender, second.socket(two) as recipient:
            await recipient.send(type="sync", chats=[])
            for number in range(messages):
                acked = await sender.message(f"hello {number}", to=second.name)
                assert acked["type"] == "ack", acked
                await recipient.text(f"hello {number}")
        answer = await self.front.client.get(f"{self.front.https}/api/chats", headers=first.headers)
        assert answer.is_success, answer.text


def target(url: str, component: str, number: int = 0) -> Target:
    """A page of this chat, with the labels of the documented scrape configuration."""
    return Target.of(
        url, namespace=NAMESPACE, chatcluster=NAME, component=component, pod=f"{NAME}-{component}-{number}"
    )


@contextmanager
def database() -> Iterator[tuple[str, str]]:
    """PostgreSQL and the agent beside it; gives the DSN of a migrated database and the address of its metrics."""
    with PostgresCluster(superuser="root") as cluster:
        pod = Pod(cluster)
        pod.mount_logins(FIRST)
        pod.round()
        dsn = f"postgresql://chat_a:{FIRST.passwords['chat_a'].replace(' ', '%20')}@127.0.0.1:{cluster.port}/chat"
        migrate(dsn)
        page = report.Page(metrics.CONTENT_TYPE, lambda: pod.agent.metrics(time.monotonic()))
        server = report.serve(0, {report.METRICS_PATH: page})
        try:
            yield dsn, f"http://127.0.0.1:{server.server_port}{report.METRICS_PATH}"
        finally:
            server.shutdown()
            server.server_close()


@asynccontextmanager
async def live_chat(folder: Path, *extra: Target, scale: float = 60) -> AsyncIterator[LiveChat]:
    """Start all parts.

    Args:
        folder: For files.
        extra: Further pages to scrape.
        scale: Divides the durations of the rules, of which some are evaluated every two minutes otherwise.
    """
    async with AsyncExitStack() as opened:
        dsn, database_metrics = opened.enter_context(database())
        servers = [opened.enter_context(ServerProcess(dsn, name)) for name in ("one", "two")]
        for server in servers:
            server.wait_ready()
        front = await opened.enter_async_context(in_front(folder, behind=int(servers[0].url.rpartition(":")[2])))
        (folder / "authority.pem").write_text(front.made.authority.certificate)
        probe = opened.enter_context(ProbeProcess(front.https, "--ca-file", str(folder / "authority.pem")))
        prometheus = opened.enter_context(Prometheus(rules={"rules.yaml": rule_file(scale=scale)}))
        prometheus.scrape(
            *(target(server.metrics_url, "chatserver", number) for number, server in enumerate(servers)),
            target(f"{front.statistics}/metrics", "ingress"),
            target(database_metrics, "database"),
            target(await probe.metrics_url(), "probe"),
            *extra,
        )
        await prometheus.scraped()
        devices = [await sign_in(server, name) for server, name in zip(servers, ("alice", "bob"), strict=True)]
        yield LiveChat(prometheus, servers, front, devices)
