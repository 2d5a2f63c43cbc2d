"""The postgres image's agent beside a real PostgreSQL, and what a pod has mounted for both."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from chatoperator.kube.objects import secret_text
from chatoperator.parts.credentials import Credentials, database_secret
from chatoperator.parts.database import statefulset
from chatoperator.parts.database.logins import Logins
from postgresagent.__main__ import Agent
from postgresagent.configuration import Places
from postgresagent.exporter import SHARED_SECONDS
from postgresagent.server import Server
from tests.support.chatclusters import cluster as chatcluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresCluster

FIRST = Logins("chat_a", {"chat_a": "first a", "chat_b": "first b"})

HBA = "local all all trust\nhost all root all trust\nhost all all all scram-sha-256\n"
"""Tests ask as the superuser `root`; everybody else comes with a password, as in the image."""

AS_POSTGRES = """#!/bin/sh
for argument; do
  case $argument in config_file=*) chmod -R a+rX "$(dirname "${argument#config_file=}")" ;; esac
done
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$REAL/postgres" "$@"
"""
"""PostgreSQL's programs refuse to run as root, as whom tests may run; in the image nobody is root."""


class Pod:
    """A PostgreSQL whose configuration and roles come as in the image, and what is mounted beside it."""

    def __init__(self, postgres: PostgresCluster) -> None:
        self.postgres = postgres
        self.secret, self.config = postgres.folder / "secret", postgres.folder / "config"
        self.accepted, self.full = postgres.folder / "accepted.conf", postgres.folder / "full.conf"
        base = postgres.folder / "base.conf"
        # Not the file that the server has by now: it includes what is accepted already.
        base.write_text(f"port = {postgres.port}\ninclude_if_exists '{self.accepted}'\n")
        for folder in (self.secret, self.config):
            folder.mkdir()
        with (postgres.data / "postgresql.conf").open("a") as file:
            file.write(f"hba_file = '{postgres.folder}/hba.conf'\n")
            file.write(f"include_if_exists '{self.accepted}'\ninclude_if_exists '{self.full}'\n")
        (postgres.folder / "hba.conf").write_text(HBA)
        refused, proven = postgres.folder / "refused", postgres.folder / "proven.conf"
        self.places = Places(self.config, base, self.accepted, self.full, refused, postgres.data, proven)
        self.clock = 0.0
        postgres.stop()
        postgres.start()
        # libpq's variables and the PATH, as the image has them.
        environment = {
            "PATH": f"{programs(postgres)}:{os.environ['PATH']}",
            "REAL": str(postgres.binaries),
            "PGHOST": str(postgres.folder),
            "PGPORT": str(postgres.port),
            "PGUSER": postgres.superuser,
            "PGDATABASE": "postgres",
        }
        self.agent = Agent(self.secret, self.places, Server(environment))

    def mount(self, folder: Path, keys: dict[str, str]) -> None:
        for path in folder.iterdir():
            path.unlink()
        for name, text in keys.items():
            (folder / name).write_text(text)

    def mount_logins(self, logins: Logins) -> str:
        """Mount the operator's own Secret; returns its revision."""
        credentials = Credentials(logins, "key")
        secret = database_secret(chatcluster(), credentials)
        self.mount(self.secret, {key: secret_text(secret, key) or "" for key in secret["data"]})
        return credentials.revision

    def mount_parameters(self, **parameters: str) -> str:
        """Mount the operator's own ConfigMap; returns its revision."""
        cluster = chatcluster(database={"parameters": parameters})
        made = statefulset.config_map(cluster, statefulset.parameters(cluster, volume_size="1Gi"))
        self.mount(self.config, made["data"])
        return str(made["data"]["revision"])

    def round(self) -> None:
        self.clock += 1
        self.agent.round(self.clock)

    def page(self) -> str:
        """The page of metrics, of a statement of its own."""
        self.clock += SHARED_SECONDS
        return self.agent.metrics(self.clock).decode()

    def metrics(self) -> dict[tuple[str, ...], float]:
        """What is on the page, by the metric's name and the values of its labels in the order of their names."""
        families = text_string_to_metric_families(self.page())
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}

    async def logged_in(self, role: str, password: str, statement: str = "SELECT current_user") -> object:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.postgres.port, user=role, password=password, database="chat"
        )
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def remove(self) -> None:
        """What this test made in the shared server."""
        self.postgres.sql("DROP DATABASE IF EXISTS chat")
        for role in ("chat_a", "chat_b", "chat", "chat_monitor"):
            self.postgres.sql(f"DROP ROLE IF EXISTS {role}")
        for path in (self.secret, self.config, self.postgres.folder / "bin"):
            shutil.rmtree(path, ignore_errors=True)
        for file in (self.accepted, self.full, self.places.refused):
            file.unlink(missing_ok=True)

    async def refused(self, role: str, password: str) -> bool:
        try:
            await self.logged_in(role, password)
        except asyncpg.InvalidAuthorizationSpecificationError:
            return True
        return False


def programs(postgres: PostgresCluster) -> str:
    """PATH with PostgreSQL's programs, in a form that this user may run."""
    if os.geteuid() != 0:
        return str(postgres.binaries)
    folder = postgres.folder / "bin"
    folder.mkdir()
    program = folder / "postgres"
    program.write_text(AS_POSTGRES)
    program.chmod(0o755)
    return f"{folder}:{postgres.binaries}"
