"""Who reaches whom, tried from inside the pods, on a network that enforces what the policies say.

All other tests of this folder run on the same network: with policies in force a chat is installed, migrated, killed,
drained, changed and looked at there.
"""

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from chatoperator.metadata import labels, selector, selector_text
from chatoperator.parts.ingress.tls.self_signed import ensure
from localcluster.images import image_name
from tests.support.cluster import Cluster, CommandFailed, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.neighbours import LISTENING, Spot, Way, between, pod, reached

APPLIED_SECONDS = 60
"""Until the operator has made or removed its policies, and each node follows; a second or two are usual."""

READY_SECONDS = 240

OPERATORS = "chatcluster-system"

ELSEWHERE = "elsewhere"
"""A namespace that has to do with no chat."""

PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}

MONITOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ELSEWHERE}},
    "podSelector": {"matchLabels": PROMETHEUS},
}

PORTS = {
    "ingress": (8080, 8404, 8443),
    "chatserver": (8080, 9090),
    "postgres": (5432, 8010),
    "operator": (9090,),
    "stranger": (LISTENING,),
}

STRANGERS = {"stranger": "chat", "impostor": ELSEWHERE, "monitor": ELSEWHERE, "colleague": OPERATORS}
"""Pods that are none of the chat's, by namespace. The impostor has a chatserver's labels in the wrong one."""

ALLOWED: set[Way] = {
    # Clients.
    *((who, "ingress", port) for who in (*STRANGERS, "operator") for port in (8080, 8443)),
    # The chat itself.
    ("ingress", "chatserver", 8080),
    ("chatserver", "postgres", 5432),
    # The operator's namespace, and whom the spec names.
    *((who, "ingress", 8404) for who in ("operator", "colleague", "monitor")),
    *((who, "chatserver", 9090) for who in ("operator", "colleague", "monitor")),
    *((who, "postgres", 8010) for who in ("operator", "colleague", "monitor")),
    ("colleague", "operator", 9090),
    # Whom no policy selects may go where none forbids it; pods of the chat may not.
    *((who, "stranger", LISTENING) for who in ("operator", "colleague", "monitor", "impostor")),
}

WEBHOOK = "webhook"
"""A namespace for a chat whose codes go to a webhook."""

GATEWAY_PORT = 8443

TAKE_CODES = f"""
import http.server, ssl, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
plain = http.server.ThreadingHTTPServer(("", {LISTENING}), Handler)
threading.Thread(target=plain.serve_forever, daemon=True).start()
server = http.server.ThreadingHTTPServer(("", {GATEWAY_PORT}), Handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/pair/tls.crt", "/pair/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

NUMBER = "+14155550199"

ASK_FOR_A_CODE = f"""
import json, ssl, urllib.request
asked = urllib.request.Request(
    "https://codes-ingress.{WEBHOOK}.svc.cluster.local/api/auth/code",
    json.dumps({{"phone_number": "{NUMBER}"}}).encode(), {{"Content-Type": "application/json"}})
print(urllib.request.urlopen(asked, context=ssl._create_unverified_context(), timeout=10).status)
"""


# The other chat comes up meanwhile.
@pytest.mark.usefixtures("chat_with_webhook")
async def test_only_who_must_reaches_whom_and_the_chat_goes_on(cluster: Cluster) -> None:
    async with _neighbours(cluster) as spots, Ledger(cluster.url, tls=cluster.insecure) as ledger:
        named = (await cluster.get("chatcluster", "demo"))["spec"]["networkPolicies"]["metricsFrom"]
        await cluster.patch({"networkPolicies": {"metricsFrom": [*named, MONITOR]}})
        enforced = await _settles(cluster, spots, ALLOWED)

        async def counted() -> bool:
            return bool((await cluster.get("chatcluster", "demo"))["status"]["connections"] == len(ledger.clients))

        await until(counted, "the operator has read every connection from the servers' metrics", APPLIED_SECONDS)
        assert (await cluster.condition("Ready"))["status"] == "True"

        # The same attempts without the operator's policies: nothing else was in their way.
        await cluster.patch({"networkPolicies": {"enabled": False}})
        sources = {spot.part for spot in spots}
        every = {(who, part, port) for who in sources for part in PORTS for port in PORTS[part] if who != part}
        charts = {way for way in every - ALLOWED if way[1] == "operator"}
        lifted = await _settles(cluster, spots, every - charts)
        await cluster.patch({"networkPolicies": {"enabled": None}})
        back = await _settles(cluster, spots, ALLOWED)
        account = await ledger.finish()
        tell(
            f"policies: {len(ALLOWED)} of {len(every)} ways are open after {enforced:.1f} s, "
            f"{len(every - charts)} {lifted:.1f} s after the operator's were lifted, "
            f"{len(ALLOWED)} {back:.1f} s after they were back\n{account}"
        )
        assert account.clean, account


@pytest.mark.usefixtures("chat_with_webhook")
async def test_a_new_chat_sends_its_codes_to_the_webhook_and_reaches_nothing_beside(cluster: Cluster) -> None:
    await cluster.kubectl(
        *("wait", "chatcluster/codes", "-n", WEBHOOK, "--for=condition=Ready", f"--timeout={READY_SECONDS}s"),
        timeout_seconds=READY_SECONDS + 10,
    )

    async def answered() -> bool:
        with contextlib.suppress(CommandFailed):
            asked = await cluster.kubectl("exec", "client", "-n", WEBHOOK, "--", "python", "-c", ASK_FOR_A_CODE)
            return asked == "202\n"
        return False

    await until(answered, "a client in the cluster is answered by HAProxy", APPLIED_SECONDS)

    async def came() -> bool:
        lines = (await cluster.kubectl("logs", "gateway", "-n", WEBHOOK)).splitlines()
        return NUMBER in [json.loads(line)["phone_number"] for line in lines]

    await until(came, "the code is at the webhook", APPLIED_SECONDS)
    ports = (LISTENING, GATEWAY_PORT)
    spots = [
        *await _spots(cluster, "chatserver", selector_text(selector("codes", "chatserver")), WEBHOOK),
        *await _spots(cluster, "client", "app=client", WEBHOOK),
        *await _spots(cluster, "gateway", "app=gateway", WEBHOOK),
    ]
    wanted = {("chatserver", "gateway", GATEWAY_PORT), *(("client", "gateway", port) for port in ports)}
    assert await reached(cluster, spots, {"gateway": ports}) == between(spots, wanted)


async def _settles(cluster: Cluster, spots: list[Spot], expected: set[Way]) -> float:
    """Wait until exactly these ways are open: nodes hear of a change one after the other."""
    wanted, found = between(spots, expected), set[Way]()

    async def as_expected() -> bool:
        found.clear()
        found.update(await reached(cluster, spots, PORTS))
        return found == wanted

    def instead() -> str:
        return f"open: {sorted(found - wanted)}\nclosed: {sorted(wanted - found)}"

    return await until(as_expected, "exactly the expected ways are open", APPLIED_SECONDS, otherwise=instead)


@contextlib.asynccontextmanager
async def _neighbours(cluster: Cluster) -> AsyncIterator[list[Spot]]:
    """The pods of `demo`, the operator's, and strangers beside them."""
    image = await _image(cluster)
    marks = {"impostor": labels("demo", "chatserver"), "monitor": PROMETHEUS}
    made = [
        pod(name, namespace, image, {**marks.get(name, {}), "stranger": name}) for name, namespace in STRANGERS.items()
    ]
    async with _namespace(cluster, ELSEWHERE):
        try:
            await _apply(cluster, *made)
            spots = [
                spot
                for name, namespace in STRANGERS.items()
                for spot in await _spots(cluster, name, f"stranger={name}", namespace)
            ]
            for part in ("ingress", "chatserver", "postgres"):
                spots += await _spots(cluster, part, selector_text(selector("demo", part)), "chat")
            spots += await _spots(cluster, "operator", "app.kubernetes.io/name=chatcluster-operator", OPERATORS)
            yield spots
        finally:
            for name, namespace in STRANGERS.items():
                # Elsewhere they go with the namespace.
                if namespace != ELSEWHERE:
                    await cluster.kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chat_with_webhook(made: Cluster) -> AsyncIterator[None]:
    """A small chat in a namespace of its own, on its way; a webhook beside it, and a client of both in the cluster."""
    image = await _image(made)
    host = f"gateway.{WEBHOOK}.svc.cluster.local"
    pair = ensure(None, None, (host,), dt.datetime.now(dt.UTC))
    chat = {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": "codes", "namespace": WEBHOOK},
        "spec": {
            "deletionPolicy": "Delete",
            "ingress": {"hostnames": ["codes.example.com"], "replicas": 1},
            "chatserver": {
                "drainSeconds": 10,
                "scaling": {"minReplicas": 1, "maxReplicas": 1},
                # The only file of the admin's in a chatserver is the key, so it is the authority's certificate too.
                "env": [{"name": "SSL_CERT_FILE", "value": "/etc/chatcluster/webhook/secret"}],
            },
            "auth": {
                "otp": {
                    "sender": "Webhook",
                    "webhook": {"url": f"https://{host}:{GATEWAY_PORT}/codes", "secretName": "key"},
                }
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gateway", "namespace": WEBHOOK},
        "spec": {"selector": {"app": "gateway"}, "ports": [{"port": GATEWAY_PORT}]},
    }
    async with _namespace(made, WEBHOOK):
        await _apply(
            made,
            _secret("key", {"secret": pair.authority.certificate}),
            _secret("pair", {"tls.crt": pair.server.certificate, "tls.key": pair.server.key}),
            chat,
            service,
            pod("gateway", WEBHOOK, image, {"app": "gateway"}, ("python", "-c", TAKE_CODES), {"/pair": "pair"}),
            pod("client", WEBHOOK, image, {"app": "client"}),
        )
        yield


def _secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": WEBHOOK}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


async def _image(cluster: Cluster) -> str:
    """One with Python and a shell, that is on all nodes."""
    operator = await cluster.get("deployment", "chatcluster-operator", namespace=OPERATORS)
    _, _, tag = operator["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")
    return image_name("chatserver", tag)


async def _apply(cluster: Cluster, *manifests: dict[str, Any]) -> None:
    await cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))


@contextlib.asynccontextmanager
async def _namespace(cluster: Cluster, name: str) -> AsyncIterator[None]:
    """A namespace, which is on its way out afterwards; what a run before left of it is waited for."""
    await cluster.kubectl("delete", "namespace", name, "--ignore-not-found", timeout_seconds=READY_SECONDS)
    await _apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield
    finally:
        await cluster.kubectl("delete", "namespace", name, "--wait=false")


async def _spots(cluster: Cluster, part: str, chosen: str, namespace: str) -> list[Spot]:
    """The pods of a part, as soon as there are any and all run."""
    await cluster.kubectl("wait", "pod", "-l", chosen, "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    return [Spot.of(part, one) for one in await cluster.get("pods", namespace=namespace, selector=chosen)]
