"""The kubectl plugin on the real cluster, as an admin types it, with people chatting all the while."""

import base64
import json
import re
import tarfile
import time
from pathlib import Path

from tests.support.cluster import Cluster, run, until
from tests.support.findings import tell
from tests.support.ledger import Ledger

COUNTED_SECONDS = 30

DRAIN_SECONDS = 120
"""More than drainSeconds of the example and what kubelet needs."""


async def _plugin(cluster: Cluster, *arguments: str) -> str:
    return await run(
        *("kubectl", "chatcluster", *arguments, "-n", "chat"),
        env={"KUBECONFIG": str(cluster.kubeconfig)},
        timeout_seconds=DRAIN_SECONDS + 60,
    )


async def test_a_drained_server_loses_no_message_and_its_clients_move(cluster: Cluster) -> None:
    story = await _plugin(cluster, "status")
    assert "\nReady for " in story
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2, messages_per_second=2) as ledger:

        async def spread() -> dict[str, int]:
            servers = json.loads(await _plugin(cluster, "connections", "-o", "json"))["servers"]
            return {one["name"]: one["connections"] or 0 for one in servers}

        async def counted() -> bool:
            return sum((await spread()).values()) >= len(ledger.clients)

        await until(counted, "connections shows every client", COUNTED_SECONDS)
        before = await spread()
        victim = max(before, key=lambda name: before[name])
        started = time.monotonic()
        told = await _plugin(cluster, "drain", victim, f"--timeout={DRAIN_SECONDS}s")
        tell(f"{told}drained in {time.monotonic() - started:.0f} s")
        assert re.match(rf"evicting {victim}, with \d+ clients", told), told
        assert f"{victim} is gone after" in told
        assert victim not in await spread()
        await until(counted, "all clients are on other servers", COUNTED_SECONDS)
        account = await ledger.finish()
        tell(account)
        assert account.clean, account
        closes = [code for client in ledger.clients for code in client.closes]
        assert set(closes) <= {1000, 1012}, f"cut by {closes}"


async def test_logs_and_a_bundle_hold_what_helps_and_no_secret(cluster: Cluster, tmp_path: Path) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1, messages_per_second=2) as ledger:
        lines = (await _plugin(cluster, "logs", "demo", "--since=30m")).splitlines()
        times = [line[:18] for line in lines if line[:2].isdigit()]
        assert times
        assert times == sorted(times), "newest last"
        operator = await _plugin(cluster, "logs", "--component", "operator", "-o", "raw")
        assert json.loads(operator.splitlines()[-1])["level"]
        bundle = tmp_path / "bundle.tar.gz"
        tell(await _plugin(cluster, "support-bundle", "--output", str(bundle)))
        tokens = [client.rest.token for client in ledger.clients]
    with tarfile.open(bundle) as tar:
        opened = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
        files = {name: content.read().decode() for name, content in opened.items() if content is not None}
    for component in ("chatserver", "ingress", "postgres"):
        assert any(name.startswith(f"logs/demo-{component}") for name in files), component
    assert any(name.startswith("operator/logs/") for name in files)
    assert any("chatserver_connections " in page for name, page in files.items() if name.startswith("metrics/"))
    secrets = [await cluster.get("secret", name) for name in ("demo-database", "demo-chatserver", "demo-ingress-ca")]
    hidden = [
        form
        for secret in secrets
        for key, value in secret["data"].items()
        if key in {"password", "dsn", "secret-key", "ca.key"}
        for form in (value, base64.b64decode(value).decode())
    ]
    whole = "".join(files.values())
    assert len(hidden) == 8
    assert not [number for number, form in enumerate([*hidden, *tokens]) if form in whole]
