"""What the admin sees: columns, conditions, refusals in words, restricted pods."""

import datetime as dt
import json
import time

import pytest

from chatoperator.parts.ingress.tls import self_signed
from tests.support.cluster import Cluster, CommandFailed
from tests.support.findings import tell
from tests.support.readiness import READY_FALSE_SECONDS, ReadyWatch

INVALID = """
apiVersion: chatcluster.io/v1alpha1
kind: ChatCluster
metadata: {{name: {name}, namespace: chat}}
spec:
  chatserver: {{scaling: {scaling}}}
  auth: {{otp: {otp}}}
"""

CERTIFICATE_SECONDS = 15
"""Enough for kubectl and a reconcile on a busy machine."""

ALLOWED = "{sender: Log, allowDevelopmentCodes: true}"


async def test_get_shows_the_columns_an_admin_needs(cluster: Cluster) -> None:
    header, row = (await cluster.kubectl("get", "chatclusters", "-n", "chat")).splitlines()
    tell(f"{header}\n{row}")
    assert header.split() == ["NAME", "READY", "SERVERS", "CONNECTIONS", "URL", "AGE"]
    name, ready, servers, connections, url, _age = row.split()
    assert (name, ready) == ("demo", "True")
    assert int(servers.split("/")[0]) >= 2
    assert int(connections) >= 0
    assert url.startswith("https://")


async def test_conditions_say_what_is_and_for_which_generation(cluster: Cluster) -> None:
    chat = await cluster.get("chatcluster", "demo")
    conditions = {condition["type"]: condition for condition in chat["status"]["conditions"]}
    for kind in ("Ready", "DatabaseReady", "ChatserverReady", "IngressReady", "ScalingActive", "DevelopmentCodes"):
        assert conditions[kind]["status"] == "True", conditions[kind]
        assert conditions[kind]["observedGeneration"] == chat["metadata"]["generation"]
        assert conditions[kind]["message"]


async def test_ready_is_false_soon_after_the_users_certificate_ended(cluster: Cluster) -> None:
    """Though the chat answers whoever does not look at it, and proxies with the new one are still coming up."""
    lasts = dt.timedelta(seconds=CERTIFICATE_SECONDS)
    begins = dt.datetime.now(dt.UTC) - dt.timedelta(days=self_signed.SERVER_DAYS) + lasts
    made = self_signed.ensure(None, None, ("localhost",), begins).server
    ends, now = self_signed.expires_at(made.certificate), dt.datetime.now(dt.UTC)
    assert ends is not None
    ends_at = time.monotonic() + (ends - now).total_seconds()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "short-lived", "namespace": "chat"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": made.certificate, "tls.key": made.key},
    }
    await cluster.apply(json.dumps(secret))
    async with ReadyWatch(cluster) as ready:
        try:
            await cluster.patch({"ingress": {"tls": {"mode": "Secret", "secretName": "short-lived"}}})
            told = await ready.becomes("False", CERTIFICATE_SECONDS + 60)
        finally:
            await cluster.patch({"ingress": {"tls": None}})
        tell(f"Ready False {told.at - ends_at:.1f} s after the certificate's end ({told.reason}: {told.message})")
        assert told.reason == "CertificateExpired"
        assert "Replace tls.crt and tls.key in Secret" in told.message
        assert 0 <= told.at - ends_at <= READY_FALSE_SECONDS
        await ready.becomes("True", READY_FALSE_SECONDS * 3)


@pytest.mark.parametrize(
    ("name", "scaling", "otp", "sentence"),
    [
        ("bounds", "{minReplicas: 5, maxReplicas: 2}", ALLOWED, "minReplicas"),
        ("codes", "{}", "{sender: Log}", "allowDevelopmentCodes"),
        ("n" * 41, "{}", ALLOWED, "40 characters"),
        ("replicas", "{mode: Internal, replicas: 3}", ALLOWED, "replicas"),
    ],
)
async def test_nonsense_is_refused_with_a_sentence_that_says_why(
    cluster: Cluster, name: str, scaling: str, otp: str, sentence: str
) -> None:
    with pytest.raises(CommandFailed) as refused:
        await cluster.apply(INVALID.format(name=name, scaling=scaling, otp=otp))
    tell(refused.value)
    assert sentence in str(refused.value)
    assert await cluster.get("chatcluster", name) is None


async def test_the_namespace_enforces_restricted_pods(cluster: Cluster) -> None:
    namespace = await cluster.get("namespace", "chat", namespace="")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        await cluster.kubectl("run", "root", "-n", "chat", "--image=none", "--dry-run=server")


async def test_no_secret_is_in_a_status_an_event_or_a_log(cluster: Cluster) -> None:
    secret = await cluster.get("secret", "demo-database")
    password = secret["data"]["password"]
    decoded = (
        await cluster.kubectl(
            "get", "secret", "demo-database", "-n", "chat", "-o", "go-template={{.data.password | base64decode}}"
        )
    ).strip()
    told = {
        '"type":"Ready"': await cluster.kubectl(
            *("get", "chatcluster,events,pods,statefulsets,deployments", "-n", "chat", "-o", "json"),
        ),
        # A pod may come or go meanwhile: what it does not say yet is no error.
        '"event": "serving"': await cluster.kubectl(
            *("logs", "-n", "chat", "-l", "app.kubernetes.io/instance=demo"),
            *("--all-containers", "--tail=-1", "--ignore-errors"),
        ),
        '"event": "condition"': await cluster.kubectl(
            *("logs", "-n", "chatcluster-system", "-l", "app.kubernetes.io/name=chatcluster-operator"),
            *("--tail=-1", "--ignore-errors"),
        ),
    }
    for something, text in told.items():
        assert something.replace(" ", "") in text.replace(" ", ""), "the text is the one that was asked for"
        assert decoded not in text
        assert password not in text
