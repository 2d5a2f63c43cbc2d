"""ChatClusters for tests, and a data plane that answers as a test says."""

import base64
import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from chatoperator.api.parse import parse
from chatoperator.api.spec import ChatCluster
from chatoperator.desired import Desired
from chatoperator.desired.backup import DesiredBackup
from chatoperator.desired.bus import DesiredBus
from chatoperator.desired.database import DesiredDatabase, Volume
from chatoperator.desired.migration import SchemaMigration, ServerTemplate
from chatoperator.desired.release import Release
from chatoperator.desired.replication import Instance, Replication
from chatoperator.observed import Answer, Pod, Reading
from chatoperator.parts.backup import usersecrets as backup_secrets
from chatoperator.parts.backup.configuration import Requests
from chatoperator.parts.backup.credentials import BackupCredentials
from chatoperator.parts.bus import access as bus_access
from chatoperator.parts.bus.credentials import BusCredentials
from chatoperator.parts.bus.external import judge
from chatoperator.parts.chatserver import deployment as chatserver
from chatoperator.parts.credentials import Certificate, Credentials, SelfSigned
from chatoperator.parts.database.logins import Logins
from chatoperator.parts.database.replication.order import NOTHING
from chatoperator.parts.ingress.tls.serving import Serving
from chatoperator.parts.losses import NOTHING_LOST
from chatoperator.parts.probe.tokens import ProbeTokens
from chatoperator.probes.prober import Target
from chatoperator.reports import AgentReport, BackupReport
from chatoperator.settings import Images, Settings

IMAGES = Images(chatserver="chatserver:1", postgres="postgres:1", haproxy="haproxy:1", valkey="valkey:1")

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

CREDENTIALS = Credentials(
    logins=Logins("chat_a", {"chat_a": "p@ss/word", "chat_b": "another p@ss"}), chatserver_key="key"
)

SELF_SIGNED = SelfSigned(
    authority=Certificate("authority certificate\n", "authority key\n"),
    server=Certificate("server certificate\n", "server key\n"),
)


BUS_CREDENTIALS = BusCredentials("bus password", "metrics password", SELF_SIGNED)

BACKUP_CREDENTIALS = BackupCredentials("passphrase of the repository", SELF_SIGNED)

BUS_SECRET = {"urls": "valkeys://a:6380,valkeys://b:6380", "username": "chat", "password": "bus password"}
"""Content of the Secret of an external bus."""


THREE = Replication(
    instances=tuple(Instance(number, Volume(), applied=True) for number in (1, 2, 3)),
    step=NOTHING,
    strict=True,
    begin=False,
    has_leader=True,
    leader="demo-postgres-0",
)
"""A database of three instances that are all as they should be."""


def instances_of(cluster: ChatCluster) -> Replication | None:
    """THREE, as the spec of a ChatCluster has them; None where it has one instance."""
    database = cluster.database
    return dataclasses.replace(THREE, strict=database.strict) if database.instances > 1 else None


def secret(name: str, **content: str) -> dict[str, Any]:
    """A Secret of a user's."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}


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


class ServedElsewhere(Serving):
    """A certificate that HAProxy serves from a Secret that a test leaves out."""

    @property
    def pair(self) -> Certificate:
        """Certificate and key."""
        return SELF_SIGNED.server


def desired(chatcluster: ChatCluster, **changed: Any) -> Desired:
    """The desired state of a ChatCluster whose bring-up is complete.

    Args:
        chatcluster: The parsed spec.
        changed: Fields of `Desired`; or `images`, `template`, `outlived` (whether an injected container outlives the
            migration), `volume`, `ports`, `config_digest`, `database_identity` (None for no database).
    """
    made: dict[str, Any] = {
        "settings": SETTINGS,
        "served": (),
        "losses": NOTHING_LOST,
        "credentials": CREDENTIALS,
        "serving": Serving(self_signed=SELF_SIGNED),
        "https_port": 443,
        "replicas": 2,
        "images": IMAGES,
        "template": ServerTemplate(IMAGES.chatserver, "demo-migrate-0123456789"),
        "outlived": False,
        "volume": Volume(),
        "ports": (),
        "config_digest": "0123456789",
        "database_identity": "claim:0000-claim",
        **changed,
    }
    images, template, outlived = made.pop("images"), made.pop("template"), made.pop("outlived")
    identity = made.pop("database_identity")
    tokens = ProbeTokens(("a" * 43, "b" * 43), stored=True) if chatcluster.monitoring.probe.enabled else None
    tokens = made.pop("probe", tokens)
    job = chatserver.migrate_job(
        chatcluster,
        image=images.chatserver,
        pull_policy=SETTINGS.image_pull_policy,
        database_identity=str(identity),
        probe_hashes=tokens.hashes if tokens is not None else (),
    )
    return Desired(
        cluster=chatcluster,
        bus=made.pop("bus", None) or _bus(chatcluster),
        probe=tokens,
        backup=made.pop("backup", None) or _backup(chatcluster),
        release=Release("1", images),
        served=frozenset(made.pop("served")),
        database=DesiredDatabase(
            volume=made.pop("volume"),
            identity=identity,
            ports=made.pop("ports"),
            config_digest=made.pop("config_digest"),
        ),
        migration=SchemaMigration(
            job_name=job["metadata"]["name"] if identity else None,
            done=template is not None,
            job=(chatserver.suspended(job) if outlived else job) if identity else None,
            template=template,
        ),
        **made,
    )


def _bus(chatcluster: ChatCluster) -> DesiredBus:
    """The bus of the spec, once all chatservers use it."""
    spec = chatcluster.bus
    if spec.external_secret_name is not None:
        return DesiredBus(judge(spec.external_secret_name, secret("theirs", **BUS_SECRET), default_prefix="chat.demo"))
    if spec.valkeys is None:
        return DesiredBus()
    servers = bus_access.own(chatcluster.name, "demo-bus.chat.svc.cluster.local", spec.valkeys.replicas)
    return DesiredBus(servers, pods=spec.valkeys.replicas, credentials=BUS_CREDENTIALS)


def _backup(chatcluster: ChatCluster) -> DesiredBackup | None:
    """The backups of the spec, with the operator's own passphrase."""
    spec = chatcluster.database.backup
    if spec is None:
        return None
    made = BACKUP_CREDENTIALS
    if spec.encryption.secret_name is not None:
        made = dataclasses.replace(made, passphrase=None)
    return DesiredBackup(made, backup_secrets.judge(spec, {}, salt="key"), Volume(), requests=Requests())


class FakeProber:
    """Stands for the data plane where no pod runs: answers what the test sets."""

    def __init__(self) -> None:
        self.connections: dict[str, Reading | None] = {}
        self.answer = Answer(ok=False, message="nothing runs in this test")
        self.asked: list[Target] = []
        self.report: AgentReport | None = None
        self.backup_report: BackupReport | None = None

    async def readings(self, addresses: Mapping[str, str]) -> dict[str, Reading | None]:
        """By pod name, what the test set; None where it set nothing."""
        return {name: self.connections.get(name) for name in addresses}

    async def agent(self, address: str) -> AgentReport | None:  # noqa: ARG002 - there is one agent
        """What the test set."""
        return self.report

    async def backup(self, address: str) -> BackupReport | None:  # noqa: ARG002 - there is one backup pod
        """What the test set."""
        return self.backup_report

    async def probe(self, target: Target) -> Answer:
        """What the test set."""
        self.asked.append(target)
        return self.answer

    async def probe_once(self, target: Target, seconds: float) -> Answer:  # noqa: ARG002 - it answers at once
        """The same."""
        return await self.probe(target)


def pod(name: str, component: str, **changed: Any) -> Pod:
    """A pod that runs and is ready, of which nothing else is known."""
    made: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Pod))
    made |= {"name": name, "component": component, "ready": True, "started": True, "terminating": False}
    return Pod(**{**made, "lost": False, "outlived": False, "has_eviction_rule": False, **changed})
