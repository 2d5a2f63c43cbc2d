"""The instances of the database of `demo` on a cluster: who leads, who has a copy, and what is done to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from chatoperator.metadata import DATABASE_INSTANCE_LABEL, INSTANCES_MAX, ROLE_LABEL, claim_name
from tests.support.cluster import is_ready, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.cluster import Cluster

COPIED_SECONDS = 300
"""Until an instance has a copy of a small database, on a loaded machine: a pod starts, and PostgreSQL twice."""

LED_SECONDS = 90
"""Until another instance leads: Patroni waits for 20 s."""


@dataclass(frozen=True)
class ChatInstances:
    """Of the ChatCluster `demo`."""

    cluster: Cluster

    async def become(self, count: int, **database: Any) -> float:
        """Set their number, and wait until all have a copy; returns the seconds."""
        await self.cluster.patch({"database": {"instances": count, **database}})
        return await self.complete(count)

    async def complete(self, count: int) -> float:
        """Wait until there are so many, of which one leads and all others have each acknowledged write."""

        async def whole() -> bool:
            if count == 1:
                return len(await self.pods()) == 1 and not await self.cluster.condition("DatabaseReplicated")
            condition, status = await self.cluster.condition("DatabaseReplicated"), await self.status()
            synchronous = [one for one in status.get("instances", ()) if one.get("synchronous")]
            return condition.get("reason") == "Replicated" and len(synchronous) == count - 1

        took = await until(whole, f"{count} instances replicate", COPIED_SECONDS)
        return took + await self.cluster.settled(COPIED_SECONDS)

    async def status(self) -> dict[str, Any]:
        """What the ChatCluster says of them."""
        chat = await self.cluster.get("chatcluster", "demo")
        return dict(chat["status"].get("database") or {})

    async def pods(self) -> list[dict[str, Any]]:
        """Their pods, by number."""
        found = await self.cluster.pods("postgres")
        return sorted(found, key=lambda pod: str(pod["metadata"]["labels"].get(DATABASE_INSTANCE_LABEL, "1")))

    async def leader(self) -> str | None:
        """The pod that Services find as the leader; None where there is none, or more than one."""
        pods = await self.pods()
        # A single PostgreSQL has no such label.
        found = [one for one in pods if len(pods) == 1 or one["metadata"]["labels"].get(ROLE_LABEL) == "primary"]
        return str(found[0]["metadata"]["name"]) if len(found) == 1 and is_ready(found[0]) else None

    async def led(self) -> str:
        """The leader, once there is one."""

        async def one() -> bool:
            return await self.leader() is not None

        await until(one, "an instance leads", LED_SECONDS)
        leader = await self.leader()
        assert leader is not None
        return leader

    async def led_by_another(self, old: str) -> float:
        """Wait until an instance other than this pod leads; returns the seconds."""

        async def another() -> bool:
            return await self.leader() not in {None, old}

        return await until(another, f"another than {old} leads", LED_SECONDS)

    async def without(self, names: set[str]) -> None:
        """Wait until PostgreSQL runs in none of these pods: one that ends still gets what is written."""

        async def ended() -> bool:
            found = await self.cluster.get("pods", selector="app.kubernetes.io/component=postgres")
            return not any(one["metadata"]["name"] in names and one["status"].get("containerStatuses") for one in found)

        await until(ended, f"{', '.join(sorted(names))} ended", LED_SECONDS)

    async def epoch(self) -> str:
        """The epoch of cursors, at the leader."""
        return await self.sql("SELECT chat_epoch()")

    async def sql(self, statement: str, pod: str | None = None) -> str:
        """Run a statement at the leader, or in a pod."""
        libpq = ("-h", "/var/run/postgresql", "-U", "postgres", "-d", "chat", "-qAtX", "-v", "ON_ERROR_STOP=1")
        arguments = ("exec", "-i", "-n", "chat", pod or await self.led(), "-c", "postgres", "--", "psql", *libpq)
        return (await self.cluster.kubectl(*arguments, stdin=statement)).strip()

    async def start_over(self) -> None:
        """Have one instance, and delete the claims of the others, which the operator keeps."""
        await self.become(1)
        claims = [claim_name("demo", number) for number in range(2, INSTANCES_MAX + 1)]
        await self.cluster.kubectl("delete", "pvc", *claims, "-n", "chat", "--ignore-not-found")


@pytest_asyncio.fixture(loop_scope="session")
async def instances(cluster: Cluster) -> AsyncIterator[ChatInstances]:
    """The database's, of which there is one at first and in the end."""
    made = ChatInstances(cluster)
    await made.start_over()
    yield made
    await made.start_over()
