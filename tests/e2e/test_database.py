"""Passwords and parameters of the database change while people chat: no request fails and no pod restarts."""

from __future__ import annotations

import base64

from chatoperator.parts.database.logins import REQUEST_ANNOTATION
from tests.support.cluster import Cluster, restarts, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.running import PART_PODS

PATIENCE_SECONDS = 180


async def test_two_rotations_and_a_wrong_parameter_go_unnoticed(cluster: Cluster) -> None:
    await until(lambda: _progressing(cluster, "Settled"), "nothing rolls any more", PATIENCE_SECONDS)
    before = await _pods(cluster)
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        first = await _login(cluster)
        took = [await _rotate(cluster, request) for request in ("first", "second")]
        last = await _login(cluster)
        assert last[0] == first[0], "two rotations lead back to the same role"
        assert last[1] != first[1]
        assert await _logs_in(cluster, *last)

        async def refused() -> bool:
            return not await _logs_in(cluster, *first)

        await until(refused, "the old password is refused", 30)
        await cluster.patch({"database": {"parameters": {"work_mem": "banana", "max_connections": "310"}}})
        await until(lambda: _progressing(cluster, "ParametersRefused"), "the parameter is refused", 60)
        assert 'parameter "work_mem": "banana"' in (await cluster.condition("Progressing"))["message"]
        await cluster.patch({"database": {"parameters": {"work_mem": "5MB", "max_connections": None}}})
        await until(lambda: _progressing(cluster, "Settled"), "the corrected parameter is taken", 60)
        assert (await cluster.psql("SHOW work_mem")).strip() == "5MB"
        account = await ledger.finish()
    tell(f"rotations took {took[0]:.0f} s and {took[1]:.0f} s; {account}")
    assert account.clean, account
    assert account.refused == 0
    assert await _pods(cluster) == before


async def _rotate(cluster: Cluster, request: str) -> float:
    username, _ = await _login(cluster)
    await cluster.kubectl("annotate", "cc", "demo", "-n", "chat", "--overwrite", f"{REQUEST_ANNOTATION}={request}")

    async def done() -> bool:
        return (await _login(cluster))[0] != username and await _progressing(cluster, "Settled")

    return await until(done, "the rotation is through", PATIENCE_SECONDS)


async def _progressing(cluster: Cluster, reason: str) -> bool:
    chat = await cluster.get("chatcluster", "demo")
    condition = await cluster.condition("Progressing")
    return bool(condition["reason"] == reason and condition["observedGeneration"] == chat["metadata"]["generation"])


async def _login(cluster: Cluster) -> tuple[str, str]:
    data = (await cluster.get("secret", "demo-database"))["data"]
    username, password = (base64.b64decode(data[key]).decode() for key in ("username", "password"))
    return username, password


async def _logs_in(cluster: Cluster, username: str, password: str) -> bool:
    """Whether PostgreSQL takes the password over TCP, as from a chatserver."""
    script = 'read -r PGPASSWORD; export PGPASSWORD; psql -h 127.0.0.1 -U "$1" -d chat -Atc "SELECT 1" || echo refused'
    said = await cluster.kubectl(
        *("exec", "-i", "-n", "chat", "demo-postgres-0", "-c", "postgres", "--", "bash", "-c", script, "-", username),
        stdin=f"{password}\n",
    )
    return said.strip() == "1"


async def _pods(cluster: Cluster) -> dict[str, int]:
    """Who runs, by uid, and how often containers were restarted."""
    return {pod["metadata"]["uid"]: restarts(pod) for component in PART_PODS for pod in await cluster.pods(component)}
