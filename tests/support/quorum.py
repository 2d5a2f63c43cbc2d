"""Several instances of one database: the image's own containers, and a real API server as their store.

All are in a network of their own, on addresses 127.0.0.x, in which an instance can be cut off from everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from chatoperator.kube import ownership
from chatoperator.metadata import (
    DATABASE_LABEL,
    PATRONI_KEYS,
    ROLE_LABEL,
    member_name,
    part_name,
    patroni_name,
    selector,
)
from chatoperator.parts.database.replication import account
from chatoperator.parts.database.replication.patroni import dynamic_configuration
from tests.support.apiserver import CERTIFICATES
from tests.support.postgresimage import Container, Pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer

NAME = "demo"
SCOPE = part_name(NAME, "postgres")
NAMESPACE = "chat"
LABELS = selector(NAME, "postgres")

FIRST_USER_ID = 20_000
"""Each instance's containers run as a user of their own, by whom the network knows what they send."""

PASSWORDS = {"chat_a": "a", "chat_b": "b", "chat_replication": "replication", "patroni": "rest"}

SECRET = {"owner": "chat", "database": "chat", "revision": "r1", **{f"password.{k}": v for k, v in PASSWORDS.items()}}

DYNAMIC = dynamic_configuration({"max_connections": "100"}, strict=True)

PATIENCE_SECONDS = 120

UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a client meets while there is no leader, or none that it can reach."""


@dataclass(eq=False)
class Instance:
    """One instance: its pod's folders, and its two containers while they run."""

    number: int
    pod: Pod
    server: Container | None = None
    agent: Container | None = None

    @property
    def name(self) -> str:
        return member_name(NAME, self.number)

    @property
    def address(self) -> str:
        return f"127.0.0.{10 + self.number}"

    @property
    def data(self) -> Path:
        return self.pod.folder / "volume" / "pgdata"

    def log(self) -> str:
        return (self.pod.folder / "postgres.log").read_text() if self.server else ""

    def promotions(self) -> list[bool]:
        """Whether cursors stayed valid, for each promotion that the agent has looked at."""
        path = self.pod.folder / "agent.log"
        lines = path.read_text().splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event["cursors_stay_valid"] for event in events if event["event"] == "promoted"]

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the pod."""
        return self.pod.execute(*command)

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as the superuser, over the socket as the agent does; nothing if no server answers."""
        libpq = ("-U", "postgres", "-h", "/var/run/postgresql", "-d", database)
        return self.execute("psql", "-X", "-A", "-t", *libpq, "-c", statement).stdout.strip()

    def kill(self) -> None:
        """End its processes at once, as a node that loses its power."""
        for container in filter(None, (self.server, self.agent)):
            container.kill()

    def stop(self) -> None:
        """End its processes as kubelet does."""
        for container in filter(None, (self.server, self.agent)):
            container.stop()


@dataclass
class Instances:
    """The instances, and what of the API server they use."""

    api: ApiServer
    folder: Path
    all: dict[int, Instance] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make what the operator makes, with the rights that it gives."""
        self._post("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": NAMESPACE}})
        labels = {**LABELS, DATABASE_LABEL: SCOPE}
        for key in PATRONI_KEYS:
            annotations = {"config": json.dumps(DYNAMIC)} if key == "config" else {}
            meta = {"name": patroni_name(NAME, key), "labels": labels, "annotations": annotations}
            self._post(f"{self._path}/configmaps", {"kind": "ConfigMap", "metadata": meta})
        self._post(f"{self._path}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": SCOPE}})
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
        rules = account.rules(NAME, ownership.INSTANCES)
        self._post(f"{rbac}/roles", {"kind": "Role", "metadata": {"name": SCOPE}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": SCOPE, "namespace": NAMESPACE}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SCOPE}
        binding = {"kind": "RoleBinding", "metadata": {"name": SCOPE}, "subjects": [subject], "roleRef": role}
        self._post(f"{rbac}/rolebindings", binding)

    def add(self, number: int) -> Instance:
        """Make an instance's pod, without starting its containers."""
        one = Instance(number, Pod(self.folder / str(number), FIRST_USER_ID + number))
        pod = {
            "kind": "Pod",
            "metadata": {"name": one.name, "labels": {**LABELS, DATABASE_LABEL: SCOPE}},
            "spec": {"containers": [{"name": "postgres", "image": "postgres"}]},
        }
        self._post(f"{self._path}/pods", pod)
        one.pod.write("database", SECRET)
        one.pod.write("postgres", {"postgresql.conf": "work_mem = '5MB'\n", "revision": "c1", "begin": "false"})
        asked = self._post(f"{self._path}/serviceaccounts/{SCOPE}/token", {"kind": "TokenRequest", "spec": {}})
        authority = (self.api.folder / CERTIFICATES / "apiserver.crt").read_text()
        one.pod.write("token", {"token": asked["status"]["token"], "ca.crt": authority})
        self.all[number] = one
        return one

    def start(self, number: int, **environment: str) -> Instance:
        """Start both containers of an instance."""
        one = self.all[number]
        variables = {**self._variables(one), **environment}
        one.server = one.pod.run("postgres", **variables)
        one.agent = one.pod.run("agent", "agent", **variables)
        return one

    def patronictl(self, one: Instance, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Patroni's program in the container of an instance, as `kubectl exec` does."""
        configuration = "/tmp/patroni/patroni.yml"  # noqa: S108 - the image's path
        return one.pod.execute("patronictl", "-c", configuration, *arguments, **self._variables(one))

    def _variables(self, one: Instance) -> dict[str, str]:
        api = urlsplit(self.api.url)
        return {
            "PATRONI_SCOPE": SCOPE,
            "PATRONI_NAME": one.name,
            "PATRONI_KUBERNETES_NAMESPACE": NAMESPACE,
            "PATRONI_KUBERNETES_LABELS": json.dumps(LABELS),
            "PATRONI_KUBERNETES_SCOPE_LABEL": DATABASE_LABEL,
            "KUBERNETES_SERVICE_HOST": str(api.hostname),
            "KUBERNETES_SERVICE_PORT": str(api.port),
            "POD_IP": one.address,
            "LISTEN_ADDRESS": one.address,
        }

    def switch_over(self, leader: Instance, candidate: Instance) -> None:
        """Ask for another leader, as the operator does."""
        body = {"metadata": {"annotations": {"leader": leader.name, "member": candidate.name}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"{self._path}/configmaps/{patroni_name(NAME, 'failover')}"
        self.api.client.patch(path, json=body, headers=headers).raise_for_status()

    def start_alone(self, number: int) -> Instance:
        """Start both containers of the only instance, which has no Patroni and listens on all addresses."""
        one = self.all[number]
        one.server, one.agent = one.pod.run("postgres"), one.pod.run("agent", "agent")
        return one

    def close(self) -> None:
        """End all containers."""
        for one in self.all.values():
            one.kill()

    def described(self) -> str:
        """How things are, and the last lines of each log."""
        logs = "\n".join(f"--- {one.name}\n" + "\n".join(one.log().splitlines()[-40:]) for one in self.all.values())
        return f"{self.annotations('leader')} {self.roles()} {self.synchronous()}\n{logs}"

    def leader(self) -> Instance | None:
        """The instance in the leader's ConfigMap."""
        found = self.annotations("leader").get("leader")
        return next((one for one in self.all.values() if one.name == found), None)

    def annotations(self, name: str) -> dict[str, str]:
        answer = self.api.client.get(f"{self._path}/configmaps/{patroni_name(NAME, name)}").raise_for_status()
        return dict(answer.json()["metadata"].get("annotations") or {})

    def roles(self) -> dict[int, str | None]:
        """The role in the label of each pod."""
        return {number: self._pod(one)["metadata"]["labels"].get(ROLE_LABEL) for number, one in self.all.items()}

    def member(self, number: int) -> dict[str, Any]:
        """What Patroni has written of an instance."""
        text = (self._pod(self.all[number])["metadata"].get("annotations") or {}).get("status", "{}")
        return dict(json.loads(text))

    def synchronous(self) -> set[str]:
        """The members that count for the quorum."""
        return set(filter(None, (self.annotations("sync").get("sync_standby") or "").split(",")))

    def dsn(self, role: str = "chat_a") -> str:
        hosts = ",".join(f"{one.address}:5432" for one in self.all.values())
        return f"postgresql://{role}:{PASSWORDS[role]}@{hosts}/chat"

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """Connect to whichever is the leader; each has its time, since asyncpg's own is for all of them together."""
        last: Exception = ConnectionError("there is no instance")
        for one in self.all.values():
            dsn = f"postgresql://chat_a:{PASSWORDS['chat_a']}@{one.address}:5432/chat"
            try:
                return await asyncpg.connect(
                    dsn, timeout=2, command_timeout=4, target_session_attrs=SessionAttribute.primary
                )
            except UNAVAILABLE as error:
                last = error
        raise last

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}"

    def _pod(self, one: Instance) -> dict[str, Any]:
        return dict(self.api.client.get(f"{self._path}/pods/{one.name}").raise_for_status().json())

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        version = "rbac.authorization.k8s.io/v1" if "rbac" in path else "v1"
        version = "authentication.k8s.io/v1" if body["kind"] == "TokenRequest" else version
        answer = self.api.client.post(path, json={"apiVersion": version, **body})
        assert answer.is_success, answer.text
        return dict(answer.json())


@contextlib.contextmanager
def instances(api: ApiServer, folder: Path) -> Iterator[Instances]:
    """Instances that end with the block."""
    made = Instances(api, folder)
    made.prepare()
    try:
        yield made
    finally:
        made.close()


def cut_off(one: Instance) -> None:
    """Lose all packets between an instance and everything else."""
    rules = f"""
    table inet cut_{one.number} {{
        chain out {{
            type filter hook output priority 0;
            meta skuid {one.pod.user_id} ip daddr {one.address} accept
            meta skuid {one.pod.user_id} drop
            ip daddr {one.address} drop
        }}
    }}
    """
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def join(one: Instance) -> None:
    """End a cut."""
    subprocess.run(["nft", "delete", "table", "inet", f"cut_{one.number}"], check=True)


@dataclass
class Ledger:
    """Inserts one after another through whichever is the leader, and which of them were acknowledged when."""

    instances: Instances
    acknowledged: dict[int, tuple[float, str]] = field(default_factory=dict)
    next: int = field(default_factory=time.time_ns)

    async def run(self) -> None:
        """Insert until cancelled; an insert whose outcome is unknown is not repeated."""
        while True:
            try:
                connection = await self.instances.connect()
            except UNAVAILABLE:
                await asyncio.sleep(0.1)
                continue
            try:
                address = str(await connection.fetchval("SELECT host(inet_server_addr())"))
                while True:
                    self.next += 1
                    await connection.execute("INSERT INTO ledger VALUES ($1)", self.next)
                    self.acknowledged[self.next] = (time.monotonic(), address)
                    await asyncio.sleep(0.005)
            except UNAVAILABLE:
                continue
            finally:
                connection.terminate()

    def acknowledged_by(self, one: Instance) -> list[float]:
        """When an instance acknowledged something."""
        return [at for at, address in self.acknowledged.values() if address == one.address]

    def longest_gap(self) -> float:
        """The longest time without an acknowledgement, in seconds."""
        times = sorted(at for at, _ in self.acknowledged.values())
        return max(after - before for before, after in itertools.pairwise(times))

    async def lost(self) -> set[int]:
        """Numbers that were acknowledged and are not in the database."""
        connection = await self.instances.connect()
        try:
            return set(self.acknowledged) - {row[0] for row in await connection.fetch("SELECT n FROM ledger")}
        finally:
            connection.terminate()
