"""Secrets of a chat in use are looked for in all that admins read and share, and are in none of it."""

import asyncio
import base64
import tarfile
import uuid
from pathlib import Path

from chatcluster_client import LiveClient, RestClient
from tests.support.cluster import Cluster, run
from tests.support.findings import tell

WITHIN_SECONDS = 10

SYSTEM = "chatcluster-system"

PROCESSES = "for file in /proc/1/environ /proc/1/cmdline; do echo; echo $file; tr '\\0' '\\n' <$file; done"

METRICS_PORTS = {"chatserver": 9090, "ingress": 8404, "postgres": 8010, "operator": 9090}


async def test_no_secret_is_in_what_admins_read_and_share(cluster: Cluster, tmp_path: Path) -> None:
    secrets = await _generated(cluster) | await _used(cluster)
    sources = await _sources(cluster) | await _bundle(cluster, tmp_path)
    # The controls: each source has what is meant to be there, so that an empty or a wrong one is no success.
    assert {name for name, (control, text) in sources.items() if control not in text} == set()
    leaks = [(name, secret) for name, (_, text) in sources.items() for secret, form in secrets.items() if form in text]
    tell(f"looked for {len(secrets)} forms of secrets in {len(sources)} sources")
    assert leaks == []


async def _generated(cluster: Cluster) -> dict[str, str]:
    """What the operator made: name -> the text, and the same as Kubernetes stores it."""
    found: dict[str, str] = {}
    for secret in await cluster.get("secrets"):
        for key, value in secret["data"].items():
            name, text = f"{secret['metadata']['name']}/{key}", base64.b64decode(value).decode()
            if key.endswith(".key"):
                # Any line of the body tells; whole ones would be missed where something re-wraps them.
                found[name] = text.splitlines()[1]
            elif key in {"dsn", "secret-key"} or key.startswith("password"):
                found[name] = text
            else:
                continue
            found[f"{name} in base64"] = value
    kinds = {name.partition("/")[2] for name in found}
    assert {"dsn", "secret-key", "password", "ca.key", "tls.key"} <= kinds, kinds
    assert sum(kind.startswith("password.") and "base64" not in kind for kind in kinds) >= 2, kinds
    return found


async def _used(cluster: Cluster) -> dict[str, str]:
    """What people bring and get; the code is left out, since six digits are somewhere by chance."""
    unique = uuid.uuid4()
    number = f"+1{2_000_000_000 + unique.int % 7_999_999_999}"
    texts = [f"canary-{way}-{unique.hex}" for way in ("rest", "socket")]
    name = f"canary{unique.hex[:10]}"
    async with await RestClient.sign_in(cluster.url, number, username=name, tls=cluster.insecure) as rest:
        await rest.send(texts[0], client_id=str(uuid.uuid4()), to=name)
        ticket = (await rest.call("POST", "/api/ws-ticket"))["ticket"]
        # A plain GET, so that the ticket is in a URL that proxy and server see.
        await _visit(cluster, ticket)
        async with LiveClient(rest) as live:
            await asyncio.wait_for(live.connected.wait(), WITHIN_SECONDS)
            await live.send(texts[1], to=name)
        return {
            "number": number[1:],
            "REST text": texts[0],
            "WebSocket text": texts[1],
            "ticket": str(ticket),
            "token": rest.token,
        }


async def _visit(cluster: Cluster, ticket: str) -> None:
    await run("curl", "-sk", "--max-time", str(WITHIN_SECONDS), f"{cluster.url}/api/ws?ticket={ticket}")


async def _sources(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Name -> what has to be in it, and the text."""
    asked: dict[str, tuple[str, tuple[str, ...]]] = {
        "the resource": ("conditions", ("get", "chatcluster", "demo", "-n", "chat", "-o", "yaml")),
        "its description": ("Conditions", ("describe", "chatcluster", "demo", "-n", "chat")),
        "the pods' descriptions": ("demo-postgres-0", ("describe", "pods", "-n", "chat")),
        "the operator's description": ("chatcluster-operator", ("describe", "pods", "-n", SYSTEM)),
        "Events": ("items:", ("get", "events", "-n", "chat", "-o", "yaml")),
        "ConfigMaps": ("demo-ingress", ("get", "configmaps", "-n", "chat", "-o", "yaml")),
    }
    pods = [(SYSTEM, "operator", pod) for pod in await cluster.get("pods", namespace=SYSTEM)]
    for component in ("chatserver", "ingress", "postgres"):
        pods += [("chat", component, pod) for pod in await cluster.pods(component)]
    for namespace, component, pod in pods:
        name = pod["metadata"]["name"]
        where = ("-n", namespace, name)
        asked[f"logs of {name}"] = (f"[pod/{name}/", ("logs", *where, "--all-containers", "--prefix", "--tail=-1"))
        for container in pod["spec"]["containers"]:
            command = ("exec", *where, "-c", container["name"], "--", "sh", "-c", PROCESSES)
            asked[f"processes of {name} {container['name']}"] = ("PATH=", command)
        if port := METRICS_PORTS.get(component):
            path = f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics"
            asked[f"metrics of {name}"] = ("# TYPE", ("get", "--raw", path))
    texts = await asyncio.gather(*(cluster.kubectl(*arguments) for _, arguments in asked.values()))
    return {name: (control, text) for (name, (control, _)), text in zip(asked.items(), texts, strict=True)}


async def _bundle(cluster: Cluster, folder: Path) -> dict[str, tuple[str, str]]:
    path = folder / "bundle.tar.gz"
    await run(
        *("kubectl", "chatcluster", "support-bundle", "-n", "chat", "--output", str(path)),
        env={"KUBECONFIG": str(cluster.kubeconfig)},
    )
    with tarfile.open(path) as tar:
        opened = [tar.extractfile(member) for member in tar.getmembers()]
        whole = "".join(content.read().decode() for content in opened if content is not None)
    return {"the support bundle": ("demo-postgres-0", whole)}
