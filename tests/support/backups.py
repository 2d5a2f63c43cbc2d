"""Chats with backups: PostgreSQL, its repository host and restores, each in the image's own containers.

Their configuration is what the operator renders, and their names are those of its Services: a hosts file in each
container says where they are. All are in one network, each on an address of its own, which alone is put into the
configuration.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from chatoperator.api.parse import parse
from chatoperator.metadata import service_host
from chatoperator.parts.backup import access, configuration, restore, stores, usersecrets
from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support import chatclusters
from tests.support.certificates import issued
from tests.support.postgresimage import MOUNTED, Container, Pod
from tests.support.quorum import PASSWORDS, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from chatoperator.api.backup import Backup
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.parts.credentials import Certificate

FIRST_USER_ID = 21_000

STATUS_PORT = 9188

NAMESPACE = "chat"

KEY = "a-key-of-a-test-of-backups"

PASSPHRASE = "backup-passphrase"
"""The Secret with the passphrase of a chat."""

NEVER = {"full": "", "incremental": "", "verify": ""}
"""A schedule of nothing: a first full backup is made all the same."""

EVERYWHERE = "tls-server-address=*\n"
"""Of the operator's configuration: in a pod, which has a network of its own."""


@dataclass
class Authority:
    """Who signs the certificates of all chats of a test."""

    pair: Certificate = field(default_factory=lambda: ensure(None, None, ["x"], dt.datetime.now(dt.UTC)).authority)

    def files(self, name: str, *hosts: str) -> dict[str, str]:
        """What a Secret has for one who is called `name`, and reached at some hosts."""
        made = issued([name, *hosts], by=self.pair)
        return {"ca.crt": self.pair.certificate, "tls.crt": made.certificate, "tls.key": made.key}

    def backup_files(self, cluster: ChatCluster, instances: int) -> dict[str, str]:
        """What the Secret has that the operator makes for the pods of a chat."""
        hosts = [service_host(cluster, "backup")]
        hosts += [configuration.instance_host(cluster, number) for number in range(1, instances + 1)]
        made = ensure(self.pair, None, hosts, dt.datetime.now(dt.UTC), client_name=cluster.name).server
        return {"ca.crt": self.pair.certificate, "tls.crt": made.certificate, "tls.key": made.key}


@dataclass
class Chat:
    """One chat: an instance of PostgreSQL and its repository host.

    Args:
        folder: An empty one for its pods.
        number: From 1; its addresses end with it.
        authority: Signs its certificates.
        repository: The field `database.backup.repository`.
        secrets: The user's Secrets that it names, with their keys.
        hosts: Addresses of other names.
        instances: Addresses of the instances of PostgreSQL; of this chat's only one otherwise.
    """

    folder: Path
    number: int
    authority: Authority
    repository: Mapping[str, Any] = field(default_factory=lambda: {"volume": {}})
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    instances: Sequence[str] = ()
    containers: list[Container] = field(default_factory=list)
    restore_environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        user_id = FIRST_USER_ID + self.number
        self.secrets = {PASSPHRASE: {"passphrase": KEY}, **self.secrets}
        self.instances = self.instances or [self.address]
        self.database = Pod(self.folder / f"{self.name}-database", user_id)
        self.host = Pod(self.folder / f"{self.name}-backup", user_id)
        for pod in (self.database, self.host):
            pod.write_hosts(self.names)
        self.write_certificates()
        self.database.write("database", SECRET)
        self.configure()
        self.write_settings()
        self._mount(self.host, stores.store_volumes(self._backup.repository), self.secrets)

    @property
    def name(self) -> str:
        return f"chat-{self.number}"

    @property
    def address(self) -> str:
        return f"127.0.1.{self.number}"

    @property
    def host_address(self) -> str:
        return f"127.0.2.{self.number}"

    @property
    def data(self) -> Path:
        return self.database.folder / "volume" / "pgdata"

    @property
    def names(self) -> dict[str, str]:
        """Addresses of its Services and of what it reaches, by name."""
        cluster = self.cluster()
        databases = {configuration.instance_host(cluster, n): address for n, address in enumerate(self.instances, 1)}
        return {service_host(cluster, "backup"): self.host_address, **databases, **self.hosts}

    def cluster(self, **database: Any) -> ChatCluster:
        """The chat as the operator reads it.

        Args:
            database: More fields of `database`.
        """
        backup = {"repository": dict(self.repository), "encryption": {"secretName": PASSPHRASE}}
        several = {"instances": len(self.instances)} if len(self.instances) > 1 else {}
        spec = {"backup": backup, **several, **database}
        return parse(chatclusters.body(self.name, NAMESPACE, database=spec))

    @property
    def _backup(self) -> Backup:
        backup = self.cluster().database.backup
        assert backup is not None
        return backup

    @property
    def _key_type(self) -> str | None:
        named = {name: chatclusters.secret(name, **content) for name, content in self.secrets.items()}
        return usersecrets.judge(self._backup, named, salt="").key_type

    @property
    def _rendered(self) -> dict[str, str]:
        """The ConfigMap of backups."""
        made = configuration.config_map(
            self.cluster(),
            self._backup,
            instances=range(1, len(self.instances) + 1),
            key_type=self._key_type,
            requests=configuration.Requests(),
        )
        return dict(made["data"])

    @property
    def environment(self) -> dict[str, str]:
        """What the container of the repository host reads of Secrets."""
        return _variables(stores.environment(self._backup.repository, PASSPHRASE, self._key_type), self.secrets)

    def write_certificates(self) -> None:
        """Mount a new certificate in all pods."""
        certificate = self.authority.backup_files(self.cluster(), len(self.instances))
        for pod in (self.database, self.host):
            write_private(pod, "backup-tls", certificate)

    def configure(self, **parameters: str) -> None:
        """Write the configurations of PostgreSQL and of pgBackRest."""
        all_of_them = {"listen_addresses": self.address, **access.parameters(self._backup), **parameters}
        text = "".join(f"{name} = '{value}'\n" for name, value in all_of_them.items())
        self.database.write("postgres", {"postgresql.conf": text, "revision": str(hash(text))})
        self.database.write("backup", {access.CLIENT_FILE: self.client()})
        self.host.write("backup", {access.HOST_FILE: self.host_configuration()})

    def client(self, address: str = "") -> str:
        """client.conf, of the pods of PostgreSQL.

        Args:
            address: Of the pod; this chat's only one otherwise.
        """
        return listening(self._rendered[access.CLIENT_FILE], address or self.address)

    def host_configuration(self) -> str:
        """pgbackrest.conf, of the repository host."""
        return listening(self._rendered[access.HOST_FILE], self.host_address)

    def write_settings(self, **settings: Any) -> None:
        """Write backup.json."""
        plan = {**json.loads(self._rendered[access.PLAN_FILE]), "schedule": NEVER, **settings}
        self.host.write("backup", {access.PLAN_FILE: json.dumps(plan)})

    @staticmethod
    def _mount(pod: Pod, volumes: Sequence[Manifest], secrets: Mapping[str, Mapping[str, str]]) -> None:
        for volume in volumes:
            if "secret" in volume and volume["name"] in MOUNTED:
                held = secrets[volume["secret"]["secretName"]]
                write_private(pod, volume["name"], {one["path"]: held[one["key"]] for one in volume["secret"]["items"]})

    def start_postgres(self) -> Container:
        """Start PostgreSQL alone."""
        return self._run(self.database, "postgres")

    def start_database(self) -> None:
        """Start PostgreSQL and what lends its files out."""
        self.start_postgres()
        self._run(self.database, "backup-server")

    def start_host(self, **environment: str) -> Container:
        """Start the repository host."""
        return self._run(self.host, "backup", LISTEN_ADDRESS=self.host_address, **{**self.environment, **environment})

    def stop_database(self) -> None:
        """Stop PostgreSQL and what lends its files out, as kubelet does."""
        for container in self.containers:
            if container.log.parent == self.database.folder and container.process.poll() is None:
                container.stop()

    def restore_in_place(
        self, request: str, *, target: str = "", undo: str = "", state: str = "pending", seconds: float = 120
    ) -> int:
        """Run the init container of a restore in place to its end; returns its exit code."""
        self.database.write("postgres", {"restore": f"{request} {state}"})
        names = {"RESTORE_ID": request, "RESTORE_TARGET": target, "RESTORE_UNDO": undo}
        return self._run(self.database, "restore-in-place", **names).process.wait(seconds)

    def _run(self, pod: Pod, mode: str, **environment: str) -> Container:
        arguments = [] if mode == "postgres" else [mode]
        self.containers.append(pod.run(mode, *arguments, **environment))
        return self.containers[-1]

    def close(self) -> None:
        """End all containers."""
        for container in self.containers:
            container.kill()

    def status(self) -> dict[str, Any]:
        """What the repository host says; empty while it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.host_address}:{STATUS_PORT}/status", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            return {}

    def is_from_a_standby(self, label: str) -> bool:
        """Whether a backup was copied from a standby, as its manifest says, which is encrypted."""
        config = f"--config={access.CONFIG_FOLDER}/{access.HOST_FILE}"
        manifest = f"backup/chat/{label}/backup.manifest"
        done = self.host.execute("pgbackrest", config, "--stanza=chat", "repo-get", manifest, **self.environment)
        assert done.returncode == 0, done.stderr
        return "option-backup-standby=true" in done.stdout

    def psql(self, statement: str, database: str = "chat") -> str:
        """Run a statement as the superuser; nothing if no server answers."""
        libpq = ("-U", "postgres", "-h", "/var/run/postgresql", "-d", database)
        return self.database.execute("psql", "-X", "-A", "-t", *libpq, "-c", statement).stdout.strip()

    def dsn(self, role: str = "chat_a") -> str:
        return f"postgresql://{role}:{PASSWORDS[role]}@{self.address}:5432/chat"

    async def connect(self, command_timeout: float = 30) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(self.dsn(), timeout=5, command_timeout=command_timeout)

    def prepare_restore(self, source: Chat, target_time: str = "", *, begin: bool = True, direct: bool = False) -> None:
        """Mount what a restore from another chat's repository needs.

        Args:
            source: The other chat.
            target_time: The field `database.restore.targetTime`.
            begin: Whether the operator knows that there has been no database.
            direct: Whether to read the store itself, and not by the other chat's repository host.
        """
        origin: dict[str, Any] = {"chatCluster": {"name": source.name}}
        if direct:
            ((kind, store),) = source.repository.items()
            path = store.get("path", f"/{NAMESPACE}/{source.name}")
            origin = {"repository": {kind: {**store, "path": path}, "encryption": {"secretName": PASSPHRASE}}}
        fields = {"from": origin, **({"targetTime": target_time} if target_time else {})}
        cluster = self.cluster(restore=fields)
        spec = cluster.database.restore
        assert spec is not None
        self.database.write("restore", restore.config_map(cluster, spec, begin=begin)["data"])
        self.database.write_hosts({**self.names, **source.names})
        secrets = {**source.secrets, f"{source.name}-backup-tls": self.authority.backup_files(source.cluster(), 1)}
        self._mount(self.database, restore.volumes(cluster, spec), secrets)
        self.restore_environment = _variables(restore.container(spec, PLAIN)["env"], secrets)

    def start_restore(self) -> Container:
        """Start the init container."""
        return self._run(self.database, "restore", **self.restore_environment)

    def restore(self, seconds: float = 120) -> int:
        """Run the init container to its end; returns its exit code."""
        return self.start_restore().process.wait(seconds)

    def log(self, name: str) -> str:
        """What a container has printed."""
        pod = self.host if name == "backup" else self.database
        path = pod.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def described(self) -> str:
        """How things are, and the last lines of each log."""
        logs = [f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-30:]) for name in LOGS]
        return "\n".join([json.dumps(self.status()), *logs])


PLAIN: Manifest = {"image": "", "imagePullPolicy": "", "env": [], "resources": {}, "volumeMounts": []}
"""PostgreSQL's container, of which the one that restores has what is not its own."""

LOGS = ("restore", "restore-in-place", "postgres", "backup-server", "backup")


def listening(text: str, address: str) -> str:
    """A configuration of pgBackRest for one of several pods in one network."""
    assert text.count(EVERYWHERE) == 1
    return text.replace(EVERYWHERE, f"tls-server-address={address}\n")


def _variables(rendered: Sequence[Manifest], secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The variables that a container gets from Secrets."""
    made = {}
    for variable in rendered:
        source = variable["valueFrom"]["secretKeyRef"]
        held = secrets.get(source["name"], {})
        if source["key"] in held or not source.get("optional", False):
            made[variable["name"]] = held[source["key"]]
    return made


def write_private(pod: Pod, volume: str, files: Mapping[str, str]) -> None:
    """Write files that only the pod's user may read."""
    pod.write(volume, files)
    for name in files:
        os.chown(pod.folder / volume / name, pod.user_id, pod.user_id)
        (pod.folder / volume / name).chmod(0o600)


@contextlib.contextmanager
def closing(*chats: Chat) -> Iterator[None]:
    """End the containers of chats with the block."""
    try:
        yield
    finally:
        for chat in chats:
            chat.close()
