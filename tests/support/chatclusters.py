"""ChatClusters for tests, and a data plane that answers as a test says."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from chatoperator.api.parse import parse
from chatoperator.api.spec import ChatCluster
from chatoperator.observed import AgentReport, Answer, Reading
from chatoperator.parts.credentials import Certificate, Credentials, SelfSigned
from chatoperator.parts.database.logins import Logins
from chatoperator.parts.manifests import Inputs, ServerTemplate
from chatoperator.probes.prober import Target
from chatoperator.settings import Images, Settings

IMAGES = Images(chatserver="chatserver:1", postgres="postgres:1", haproxy="haproxy:1")

SETTINGS = Settings(
    version="1",
    images=IMAGES,
    image_pull_policy="IfNotPresent",
    namespace="chatcluster-system",
    pod_name="operator-0",
    lease_name="chatcluster-operator",
    watch_namespaces=(),
    cluster_domain="cluster.local",
    health_port=8080,
    metrics_port=9090,
    log_level="INFO",
)

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)

SELF_SIGNED = SelfSigned(
    authority=Certificate("authority certificate\n", "authority key\n"),
    server=Certificate("server certificate\n", "server key\n"),
)


def body(name: str = "demo", namespace: str = "chat", **spec: Any) -> dict[str, Any]:
    """A ChatCluster as the API server gives it, with `spec` laid over the least that is valid."""
    return {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": name, "namespace": namespace, "uid": "0000-demo", "generation": 1},
        "spec": {"auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}}, **spec},
    }


def cluster(**spec: Any) -> ChatCluster:
    """The same, parsed."""
    return parse(body(**spec))


def inputs(**changed: Any) -> Inputs:
    """Inputs of a ChatCluster whose bring-up is through."""
    made: dict[str, Any] = {
        "images": IMAGES,
        "pull_policy": "IfNotPresent",
        "cluster_domain": "cluster.local",
        "credentials": Credentials(
            logins=Logins("chat_a", {"chat_a": "p@ss/word", "chat_b": "another p@ss"}), chatserver_key="key"
        ),
        "self_signed": SELF_SIGNED,
        "issued": None,
        "certificates_known": False,
        "certificate_uid": None,
        "routes_known": False,
        "tls_digest": "0123456789",
        "https_port": 443,
        "volume_usable": True,
        "volume_size": None,
        "config_digest": "0123456789",
        "database_identity": "claim:0000-claim",
        "outlived_job": None,
        "server_template": ServerTemplate(image=IMAGES.chatserver, schema="demo-migrate-0123456789"),
        "replicas": 2,
        "operator_namespace": "chatcluster-system",
        "external_ports": (),
        **changed,
    }
    return Inputs(**made)


class FakeProber:
    """Stands for the data plane where no pod runs: answers what the test sets."""

    def __init__(self) -> None:
        self.connections: dict[str, Reading | None] = {}
        self.answer = Answer(ok=False, message="nothing runs in this test")
        self.asked: list[Target] = []
        self.report: AgentReport | None = None

    async def readings(self, addresses: Mapping[str, str]) -> dict[str, Reading | None]:
        """By pod name, what the test set; None where it set nothing."""
        return {name: self.connections.get(name) for name in addresses}

    async def agent(self, address: str) -> AgentReport | None:  # noqa: ARG002 - there is one agent
        """What the test set."""
        return self.report

    async def ask(self, target: Target) -> Answer:
        """What the test set."""
        self.asked.append(target)
        return self.answer

    async def ask_once(self, target: Target, seconds: float) -> Answer:  # noqa: ARG002 - it answers at once
        """The same."""
        return await self.ask(target)
