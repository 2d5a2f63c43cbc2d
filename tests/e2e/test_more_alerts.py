"""The faults that test_alerts.py leaves to `make soak`, and ten healthy minutes in which nothing is sent."""

import asyncio
import contextlib
import datetime as dt
import functools
import json
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chatcluster_client import Problem, RestClient
from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls.self_signed import ensure, expires_at
from localcluster.deploy import OPERATOR_NAMESPACE
from tests.support import deaf
from tests.support.alerts import only_pages, quiet
from tests.support.background import background
from tests.support.cluster import PROXY_PORT, Cluster, until
from tests.support.findings import tell
from tests.support.flock import flock_of, make_tokens, more_devices_sql
from tests.support.ledger import Ledger, sign_in
from tests.support.monitored import Monitored
from tests.support.nodes import Nodes

pytestmark = pytest.mark.soak

FIRES_SECONDS = 180
RESOLVES_SECONDS = 480
"""The slowest rules look six minutes back."""

READY_SECONDS = 300

HEALTHY_SECONDS = float(os.environ.get("CHAT_SOAK_SECONDS", "600"))

DEMO = {"namespace": "chat", "chatcluster": "demo"}

SECRET = "certificate-that-expires"

LEFT_SECONDS = 600
"""Until it expires: less than two days at the rules' speed."""

DEAF = 10

KILLS = 3

PROXY_MEMORY = "96Mi"
"""So little that a test can use its connections up."""

LARGE_TEXT = "x" * 60_000

SMALL = "small"
"""Namespace and name of the chat whose volume is filled."""

SMALL_MEBIBYTES = 1100


async def test_a_certificate_that_expires_soon_pages(cluster: Cluster, watched: Monitored) -> None:
    await quiet(watched)
    now = dt.datetime.now(dt.UTC)
    await _put(cluster, _certificate(now + dt.timedelta(seconds=LEFT_SECONDS)))
    try:
        async with only_pages(watched, cause="ChatCertificateExpires"):
            await cluster.patch({"ingress": {"tls": {"mode": "Secret", "secretName": SECRET}}})
            fired = await watched.fires("ChatCertificateExpires", FIRES_SECONDS, severity="page", **DEMO)
            tell(fired.annotations["description"])
            await cluster.patch({"ingress": {"tls": None}})
            await watched.resolves("ChatCertificateExpires", RESOLVES_SECONDS, severity="page", **DEMO)
    finally:
        await cluster.patch({"ingress": {"tls": None}})
        await cluster.kubectl("delete", "secret", SECRET, "-n", "chat", "--ignore-not-found")
        await cluster.settled()


async def test_an_absent_operator_pages_and_chats_go_on(cluster: Cluster, watched: Monitored) -> None:
    await quiet(watched)
    async with only_pages(watched, cause="ChatOperatorAbsent"), Ledger(cluster.url, tls=cluster.insecure) as ledger:
        async with _without_operator(cluster):
            await watched.fires("ChatOperatorAbsent", FIRES_SECONDS)
        await watched.resolves("ChatOperatorAbsent", RESOLVES_SECONDS)
        account = await ledger.finish()
        assert account.clean, account


async def test_a_server_that_is_killed_again_and_again_is_a_ticket(
    cluster: Cluster, watched: Monitored, nodes: Nodes
) -> None:
    await quiet(watched)
    victim, *_ = await cluster.pods("chatserver")
    name = victim["metadata"]["name"]
    before = _restarts(victim)
    # Those whose server dies are cut, and the others have room for them: nobody is paged.
    async with only_pages(watched):
        for times in range(before + 1, before + KILLS + 1):
            await nodes.kill_container(name, "chatserver")
            await until(functools.partial(_restarted, cluster, name, times), f"{name} restarted", FIRES_SECONDS)
        await watched.fires("ChatServersRestart", FIRES_SECONDS, pod=name, **DEMO)
        await cluster.ready()
        await watched.resolves("ChatServersRestart", RESOLVES_SECONDS, pod=name, **DEMO)


async def test_clients_that_read_nothing_are_a_ticket(cluster: Cluster, watched: Monitored) -> None:
    await quiet(watched)
    async with (
        await sign_in(cluster.url, tls=cluster.insecure) as ana,
        await sign_in(cluster.url, tls=cluster.insecure) as bo,
    ):
        tokens = make_tokens(DEAF)
        await cluster.psql(more_devices_sql(bo.user_id, tokens))
        with await deaf.connect(cluster.url, tokens, cluster.insecure):
            async with only_pages(watched), background(_write(ana, bo.username)):
                await watched.fires("ChatReadersSlow", FIRES_SECONDS, **DEMO)
        await watched.resolves("ChatReadersSlow", RESOLVES_SECONDS, **DEMO)


async def test_a_gateway_that_takes_no_codes_is_a_ticket(cluster: Cluster, watched: Monitored) -> None:
    await cluster.apply(json.dumps(_secret("gateway-key", {"secret": "0123456789abcdef0123456789abcdef"})))
    nobody = {"url": "https://nobody.chat.svc.cluster.local/codes", "secretName": "gateway-key"}
    await cluster.patch({"auth": {"otp": {"sender": "Webhook", "webhook": nobody}}})
    try:
        await cluster.settled()
        await quiet(watched)
        async with only_pages(watched):
            async with background(_ask_for_codes(cluster)):
                await watched.fires("ChatCodesFail", FIRES_SECONDS, **DEMO)
            await watched.resolves("ChatCodesFail", RESOLVES_SECONDS, **DEMO)
    finally:
        await cluster.patch({"auth": {"otp": {"sender": "Log", "webhook": None}}})
        await cluster.kubectl("delete", "secret", "gateway-key", "-n", "chat", "--ignore-not-found")
        await cluster.settled()


async def test_messages_that_are_deleted_too_late_are_a_ticket(cluster: Cluster, watched: Monitored) -> None:
    await quiet(watched)
    # A server has it that never continues.
    await cluster.psql(
        "INSERT INTO expiries (chat_id, from_seq, user_id, done_seq, announced_seq, due_at, leased_until) "
        "VALUES (0, 1, 0, 0, 0, now() - interval '2 hours', 'infinity')"
    )
    try:
        async with only_pages(watched):
            await watched.fires("ChatExpiryLate", FIRES_SECONDS, **DEMO)
    finally:
        await cluster.psql("DELETE FROM expiries WHERE chat_id = 0")
    await watched.resolves("ChatExpiryLate", RESOLVES_SECONDS, **DEMO)


async def test_a_proxy_near_its_limit_is_a_ticket(cluster: Cluster, watched: Monitored) -> None:
    await cluster.patch({"ingress": {"replicas": 1, "resources": {"limits": {"memory": PROXY_MEMORY}}}})
    try:
        await cluster.settled()
        await quiet(watched)
        limit = await cluster.metric("ingress", "haproxy_frontend_limit_sessions", PROXY_PORT, 'proxy="https"')
        async with only_pages(watched), await flock_of(cluster, int(limit * 0.9)) as flock:
            await flock.all_connected(READY_SECONDS)
            await watched.fires("ChatProxyNearLimit", FIRES_SECONDS, **DEMO)
        await watched.resolves("ChatProxyNearLimit", RESOLVES_SECONDS, **DEMO)
    finally:
        await cluster.patch({"ingress": {"replicas": None, "resources": None}})
        await cluster.settled()


async def test_a_full_volume_pages_and_room_resolves_it(cluster: Cluster, watched: Monitored, nodes: Nodes) -> None:
    async with _small_chat(cluster, nodes) as folder:
        await quiet(watched)
        async with only_pages(watched, cause="ChatVolumeFull"):
            filling = f"{folder}/filling"
            await nodes.run(nodes.first, "sh", "-c", f"dd if=/dev/zero of={filling} bs=1M; truncate -s -8M {filling}")
            fired = await watched.fires("ChatVolumeFull", FIRES_SECONDS, namespace=SMALL, chatcluster=SMALL)
            assert fired.labels["severity"] == "page"
            await nodes.run(nodes.first, "rm", filling)
            await watched.resolves("ChatVolumeFull", RESOLVES_SECONDS, namespace=SMALL, chatcluster=SMALL)


async def test_nothing_is_sent_in_healthy_minutes(cluster: Cluster, watched: Monitored) -> None:
    """At the rules' speed ten minutes are ten hours."""
    await cluster.settled()
    await quiet(watched)
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=10, messages_per_second=2) as ledger:
        await asyncio.sleep(HEALTHY_SECONDS)
        account = await ledger.finish()
        tell(account)
        assert account.clean, account
    assert not watched.receiver.fired()


def _certificate(expires: dt.datetime) -> Certificate:
    now = dt.datetime.now(dt.UTC)
    usual = expires_at(ensure(None, None, ("localhost",), now).server.certificate)
    assert usual is not None
    return ensure(None, None, ("localhost", "127.0.0.1"), expires - (usual - now)).server


async def _put(cluster: Cluster, pair: Certificate) -> None:
    secret = _secret(SECRET, {"tls.crt": pair.certificate, "tls.key": pair.key})
    await cluster.apply(json.dumps({**secret, "type": "kubernetes.io/tls"}))


def _secret(name: str, data: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "chat"},
        "stringData": data,
    }


async def _write(sender: RestClient, username: str) -> None:
    while True:
        # A limit of the rate is met on the way, and waited for.
        with contextlib.suppress(Problem):
            await sender.send(LARGE_TEXT, client_id=str(uuid.uuid4()), to=username)
        await asyncio.sleep(0.1)


async def _ask_for_codes(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.url, verify=cluster.insecure, trust_env=False) as http:
        while True:
            number = f"+1{2_000_000_000 + uuid.uuid4().int % 7_999_999_999}"
            answer = await http.post("/api/auth/code", json={"phone_number": number})
            assert answer.status_code in {202, 429, 503}, answer.text
            await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def _without_operator(cluster: Cluster) -> AsyncIterator[None]:
    deployment = await cluster.get("deployment", "chatcluster-operator", namespace=OPERATOR_NAMESPACE)
    scale = ("scale", "deployment/chatcluster-operator", "-n", OPERATOR_NAMESPACE)
    await cluster.kubectl(*scale, "--replicas=0")
    try:
        yield
    finally:
        await cluster.kubectl(*scale, f"--replicas={deployment['spec']['replicas']}")


@contextlib.asynccontextmanager
async def _small_chat(cluster: Cluster, nodes: Nodes) -> AsyncIterator[str]:
    """A chat whose volume is a small file system of its own on the first node; gives the file system's folder there."""
    async with nodes.small_file_system(SMALL, SMALL_MEBIBYTES) as folder:
        volume = nodes.volume(SMALL, folder, "1Gi", (SMALL, f"{SMALL}-postgres-data"))
        try:
            readers = (await cluster.get("chatcluster", "demo"))["spec"]["networkPolicies"]["metricsFrom"]
            items = _small_manifests(volume, readers)
            await cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
            await cluster.kubectl(
                *("wait", f"chatcluster/{SMALL}", "-n", SMALL, "--for=condition=Ready", f"--timeout={READY_SECONDS}s"),
                timeout_seconds=READY_SECONDS + 10,
            )
            yield folder
        finally:
            await cluster.kubectl("delete", "namespace", SMALL, "--ignore-not-found", timeout_seconds=READY_SECONDS)
            await cluster.kubectl("delete", "pv", SMALL, "--ignore-not-found")


def _small_manifests(volume: dict[str, Any], readers: object) -> list[dict[str, Any]]:
    api = {"apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster"}
    spec = {
        "deletionPolicy": "Delete",
        "ingress": {"hostnames": ["small.example.com"], "replicas": 1},
        "chatserver": {"drainSeconds": 10, "scaling": {"minReplicas": 1, "maxReplicas": 1}},
        "database": {"storage": {"size": "1Gi", "storageClassName": ""}},
        "auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}},
        "networkPolicies": {"metricsFrom": readers},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SMALL}},
        volume,
        {**api, "metadata": {"name": SMALL, "namespace": SMALL}, "spec": spec},
    ]


async def _restarted(cluster: Cluster, pod: str, times: int) -> bool:
    found = await cluster.get("pod", pod)
    (status,) = found["status"]["containerStatuses"]
    return _restarts(found) >= times and bool(status["ready"])


def _restarts(pod: dict[str, Any]) -> int:
    (status,) = pod["status"]["containerStatuses"]
    return int(status["restartCount"])
