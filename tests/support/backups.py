"""Chats with backups: PostgreSQL, its repository host and restores, each in the image's own containers.

All are in one network, each on an address of its own.
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

from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support.certificates import issued
from tests.support.postgresimage import MOUNTED, Container, Pod
from tests.support.quorum import PASSWORDS, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from chatoperator.parts.credentials import Certificate

FIRST_USER_ID = 21_000

STATUS_PORT, TLS_PORT = 9188, 8432

DATA = "/var/lib/postgresql/data/pgdata"

KEY = "a-key-of-a-test"

NEVER = {"full": "", "incremental": "", "verify": ""}
"""A schedule of nothing: a first full backup is made all the same."""


@dataclass
class Authority:
    """Who signs the certificates of all chats of a test."""

    pair: Certificate = field(default_factory=lambda: ensure(None, None, ["x"], dt.datetime.now(dt.UTC)).authority)

    def files(self, name: str, *addresses: str) -> dict[str, str]:
        """What a Secret has for one who is called `name`, and reached at some addresses."""
        made = issued([name, *addresses], by=self.pair)
        return {"ca.crt": self.pair.certificate, "tls.crt": made.certificate, "tls.key": made.key}


def section(name: str, options: Mapping[str, str]) -> str:
    """One section of pgbackrest.conf."""
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def tls(prefix: str, folder: str = "backup-tls") -> dict[str, str]:
    """Options for the certificate of one side."""
    mounted = f"/{MOUNTED[folder]}"
    names = {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"}
    return {f"{prefix}-{kind}-file": f"{mounted}/{file}" for kind, file in names.items()}


COMMON = {
    "log-level-console": "info",
    "log-level-file": "off",
    "lock-path": "/tmp/pgbackrest",  # noqa: S108 - a volume of each pod alone
    "spool-path": "/tmp/pgbackrest",  # noqa: S108
    "compress-type": "zst",
    "io-timeout": "10",
}

POSIX = {"repo1-type": "posix", "repo1-path": "/repository"}


def lender(prefix: str, address: str) -> dict[str, str]:
    """Options of the repository host for one instance of PostgreSQL."""
    return {
        f"{prefix}-host": address,
        f"{prefix}-host-type": "tls",
        f"{prefix}-host-port": str(TLS_PORT),
        **tls(f"{prefix}-host"),
        f"{prefix}-host-config": f"/{MOUNTED['backup']}/client.conf",
        f"{prefix}-path": DATA,
        f"{prefix}-socket-path": "/var/run/postgresql",
    }


@dataclass
class Chat:
    """One chat: an instance of PostgreSQL and its repository host.

    Args:
        folder: An empty one for its pods.
        number: From 1; its addresses end with it.
        authority: Signs its certificates.
        repository: Options of its repository, without its secrets.
        environment: Of the repository host: the secrets.
    """

    folder: Path
    number: int
    authority: Authority
    repository: Mapping[str, str] = field(default_factory=lambda: dict(POSIX))
    environment: Mapping[str, str] = field(default_factory=lambda: {"PGBACKREST_REPO1_CIPHER_PASS": KEY})
    containers: list[Container] = field(default_factory=list)
    restore_environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        user_id = FIRST_USER_ID + self.number
        self.database = Pod(self.folder / f"{self.name}-database", user_id)
        self.host = Pod(self.folder / f"{self.name}-backup", user_id)
        self.write_certificates()
        self.database.write("database", SECRET)
        self.configure()
        self.write_settings()

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

    def write_certificates(self) -> None:
        """Mount a new certificate in all pods."""
        certificate = self.authority.files(self.name, self.address, self.host_address)
        for pod in (self.database, self.host):
            write_private(pod, "backup-tls", certificate)

    def configure(self, **parameters: str) -> None:
        """Write the configurations of PostgreSQL and of pgBackRest."""
        all_of_them = {"listen_addresses": self.address, "archive_mode": "on", "archive_timeout": "60", **parameters}
        text = "".join(f"{name} = '{value}'\n" for name, value in all_of_them.items())
        self.database.write("postgres", {"postgresql.conf": text, "revision": str(hash(text))})
        self.database.write("backup", {"client.conf": self.client()})
        self.host.write("backup", {"pgbackrest.conf": self.host_configuration()})

    def client(self, address: str = "") -> str:
        """client.conf, of the pods of PostgreSQL.

        Args:
            address: Of the pod; this chat's only one otherwise.
        """
        options = {
            **COMMON,
            "repo1-host": self.host_address,
            "repo1-host-type": "tls",
            "repo1-host-port": str(TLS_PORT),
            **tls("repo1-host"),
            "repo1-host-config": f"/{MOUNTED['backup']}/pgbackrest.conf",
            "tls-server-address": address or self.address,
            "tls-server-port": str(TLS_PORT),
            **tls("tls-server"),
            "tls-server-auth": f"{self.name}=chat",
        }
        return section("global", options) + section(
            "chat", {"pg1-path": DATA, "pg1-socket-path": "/var/run/postgresql"}
        )

    def host_configuration(self, *instances: str) -> str:
        """pgbackrest.conf, of the repository host.

        Args:
            instances: Addresses of the instances of PostgreSQL; this chat's only one otherwise.
        """
        options = {
            **COMMON,
            **self.repository,
            "repo1-cipher-type": "aes-256-cbc",
            "repo1-retention-full": "2",
            "repo1-bundle": "y",
            "repo1-block": "y",
            "start-fast": "y",
            "backup-standby": "prefer",
            "archive-timeout": "60",
            "process-max": "2",
            "tls-server-address": self.host_address,
            "tls-server-port": str(TLS_PORT),
            **tls("tls-server"),
            "tls-server-auth": f"{self.name}=chat",
        }
        lent: dict[str, str] = {}
        for number, address in enumerate(instances or [self.address], 1):
            lent |= lender(f"pg{number}", address)
        return section("global", options) + section("chat", lent)

    def write_settings(self, **settings: Any) -> None:
        """Write backup.json."""
        self.host.write("backup", {"backup.json": json.dumps({"schedule": NEVER, **settings})})

    def start_database(self) -> None:
        """Start PostgreSQL and what lends its files out."""
        for mode in ("postgres", "backup-server"):
            self._run(self.database, mode)

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
        config = f"--config=/{MOUNTED['backup']}/pgbackrest.conf"
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

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(self.dsn(), timeout=5, command_timeout=30)

    def prepare_restore(self, source: Chat, target_time: str = "", *, begin: bool = True, direct: bool = False) -> None:
        """Mount what a restore from another chat's repository needs.

        Args:
            source: The other chat.
            target_time: As in restore.json.
            begin: Likewise.
            direct: Whether to read the store itself, and not by the other chat's repository host.
        """
        by_host = {
            "repo1-host": source.host_address,
            "repo1-host-type": "tls",
            "repo1-host-port": str(TLS_PORT),
            **tls("repo1-host", "restore-tls"),
            "repo1-host-config": f"/{MOUNTED['backup']}/pgbackrest.conf",
        }
        store = {**source.repository, "repo1-cipher-type": "aes-256-cbc"} if direct else by_host
        text = section("global", {**COMMON, **store}) + section("chat", {"pg1-path": f"{DATA}.new"})
        settings = json.dumps({"target_time": target_time, "begin": begin})
        self.database.write("restore", {"pgbackrest.conf": text, "restore.json": settings})
        write_private(self.database, "restore-tls", self.authority.files(source.name))
        self.restore_environment = dict(source.environment) if direct else {}

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


LOGS = ("restore", "restore-in-place", "postgres", "backup-server", "backup")


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
