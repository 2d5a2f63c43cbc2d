"""A chat on a PostgreSQL that is not the operator's: examples/external-database.yaml with its blanks filled in.

Run by `make soak`; what needs no pods is in the integration tests of the operator.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.cluster import ROOT, Cluster, environment, until
from tests.support.findings import tell
from tests.support.ledger import Ledger

pytestmark = pytest.mark.soak

OUTSIDE = "outside"
"""A namespace, with a PostgreSQL that nobody but the test looks after."""

HOST = f"postgres.{OUTSIDE}.svc.cluster.local"

PATIENCE_SECONDS = 240

SERVE = """
[ -e /data/pg ] || {
  initdb -D /data/pg -U admin --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  echo 'host all all all scram-sha-256' >>/data/pg/pg_hba.conf
}
exec postgres -D /data/pg -c listen_addresses='*' -c unix_socket_directories=/tmp
"""

ROLES = """
CREATE ROLE chat LOGIN PASSWORD 'first';
CREATE DATABASE chat OWNER chat;
CREATE ROLE another LOGIN PASSWORD 'second' IN ROLE chat;
ALTER ROLE another SET role chat;
"""
"""Everything an admin would give: a database, and roles without further rights."""

END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('chat', 'another')"


async def test_an_external_database_serves_changes_its_login_and_stays(cluster: Cluster) -> None:
    async with _outside(cluster):
        await _fill_in(cluster, "chat:first")
        await until(lambda: _says(cluster, "Ready", "Answering"), "the chat on it is Ready", PATIENCE_SECONDS)
        assert await cluster.get("statefulset", "external-postgres") is None
        assert await cluster.get("pvc", "external-postgres-data") is None
        async with (
            _forwarded(cluster, "service/external-ingress", 443) as port,
            Ledger(f"https://127.0.0.1:{port}", tls=cluster.insecure) as ledger,
        ):
            first = await _job(cluster)
            await _dsn(cluster, "another:second")

            async def migrated() -> bool:
                return await _job(cluster) not in ("", first) and await _says(cluster, "Progressing", "Settled")

            await until(migrated, "the schema was looked at with the new login", PATIENCE_SECONDS)
            await until(lambda: _uses(cluster, "another"), "servers use the new login", PATIENCE_SECONDS)
            await _psql(cluster, f"ALTER ROLE chat NOLOGIN; {END_CONNECTIONS}")
            await ledger.all_acknowledged(PATIENCE_SECONDS)
            assert await _psql(cluster, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'chat'") == "0"

            # Its server ends and starts again, as any does some day.
            await cluster.kubectl("exec", "postgres", "-n", OUTSIDE, "--", "bash", "-c", "kill -INT 1")
            await ledger.all_acknowledged(PATIENCE_SECONDS)

            await cluster.kubectl("delete", "secret", "chat-database", "-n", "chat")
            await until(lambda: _says(cluster, "DatabaseReady", "SecretMissing"), "it is told", PATIENCE_SECONDS)
            await ledger.all_acknowledged(PATIENCE_SECONDS)
            await _dsn(cluster, "another:second")
            await until(lambda: _says(cluster, "DatabaseReady", "Reachable"), "it is well again", PATIENCE_SECONDS)
            account = await ledger.finish()
            tell(f"external database: {account}")
            assert account.clean, account
        await cluster.kubectl("delete", "chatcluster", "external", "-n", "chat")
        stored = int(await _psql(cluster, "SELECT count(*) FROM messages", "chat"))
        assert stored >= account.acknowledged, "what is yours stays"


@contextlib.asynccontextmanager
async def _outside(cluster: Cluster) -> AsyncIterator[None]:
    """A PostgreSQL in a plain pod, and all that the test made gone again afterwards."""
    image = (await cluster.get("chatcluster", "demo"))["status"]["images"]["postgres"]
    labels = {"app": "postgres"}
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "postgres", "namespace": OUTSIDE, "labels": labels},
        "spec": {
            "containers": [
                {
                    "name": "postgres",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["bash", "-c", SERVE],
                    "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1"]}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "securityContext": {"runAsUser": 999, "fsGroup": 999},
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OUTSIDE}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "postgres", "namespace": OUTSIDE},
        "spec": {"selector": labels, "ports": [{"port": 5432}]},
    }
    await cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace, pod, service]}))
    try:
        await cluster.kubectl("wait", "pod/postgres", "-n", OUTSIDE, "--for=condition=Ready", "--timeout=100s")
        await _psql(cluster, ROLES)
        yield
    finally:
        await cluster.kubectl("delete", "chatcluster", "external", "-n", "chat", "--ignore-not-found")
        await cluster.kubectl("delete", "secret", "chat-database", "-n", "chat", "--ignore-not-found")
        await cluster.kubectl("delete", "namespace", OUTSIDE, timeout_seconds=PATIENCE_SECONDS)


async def _psql(cluster: Cluster, sql: str, database: str = "postgres") -> str:
    printed = await cluster.kubectl(
        *("exec", "-i", "postgres", "-n", OUTSIDE, "--", "psql", "-h", "/tmp", "-U", "admin", "-d", database),  # noqa: S108
        *("-qAtX", "-v", "ON_ERROR_STOP=1"),
        stdin=sql,
    )
    return printed.strip()


async def _fill_in(cluster: Cluster, login: str) -> None:
    """Apply the example with this PostgreSQL's address and fewer servers."""
    text = (ROOT / "examples" / "external-database.yaml").read_text()
    filled = text.replace("chat:change-me@postgres.example.com", f"{login}@{HOST}")
    assert filled != text
    await cluster.apply(filled.replace("replicas: 3", "replicas: 2"))


async def _dsn(cluster: Cluster, login: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "chat-database", "namespace": "chat"},
        "stringData": {"dsn": f"postgresql://{login}@{HOST}:5432/chat"},
    }
    await cluster.apply(json.dumps(secret))


async def _says(cluster: Cluster, kind: str, reason: str) -> bool:
    return (await cluster.condition(kind, "external")).get("reason") == reason


async def _job(cluster: Cluster) -> str:
    """The one migration there is; nothing while there are two."""
    jobs = await cluster.get("jobs", selector="app.kubernetes.io/instance=external")
    return str(jobs[0]["metadata"]["name"]) if len(jobs) == 1 else ""


async def _uses(cluster: Cluster, role: str) -> bool:
    """Whether a server's new connections come as this role: old ones are ended, so that there are new ones."""
    await _psql(cluster, END_CONNECTIONS)
    await asyncio.sleep(1)
    counted = "SELECT count(*) FILTER (WHERE usename = '{}'), count(*) FROM pg_stat_activity WHERE datname = 'chat'"
    ours, every = (await _psql(cluster, counted.format(role))).split("|")
    return ours == every != "0"


@contextlib.asynccontextmanager
async def _forwarded(cluster: Cluster, what: str, port: int) -> AsyncIterator[int]:
    """A port of this machine that leads there."""
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "port-forward", "-n", "chat", what, f":{port}", "--address=127.0.0.1"),
        stdout=asyncio.subprocess.PIPE,
        env=environment() | {"KUBECONFIG": str(cluster.kubeconfig)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line
        yield int(found[1])
    finally:
        process.terminate()
        await process.wait()
