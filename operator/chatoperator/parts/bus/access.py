"""What chatservers need to use the bus: variables, and the files that they read at each new connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.api import busurls
from chatoperator.metadata import bus_secret_name, part_name
from chatoperator.parts.pod import secret_volume

if TYPE_CHECKING:
    from chatoperator.metadata import Manifest

FOLDER = "/etc/chatcluster/bus"
VOLUME = "bus"

PREFIX = "CHAT_BUS_"
URLS_VARIABLE = f"{PREFIX}URLS"

PASSWORD_KEY, AUTHORITY_KEY = "password", "ca.crt"
"""Keys of the Secret, and names of the mounted files."""

PORT = 6379
USERNAME = "chat"
"""ACL user of the chatservers."""


@dataclass(frozen=True)
class ServerBus:
    """How chatservers reach the bus; without variables it is PostgreSQL's.

    Attributes:
        variables: Of their environment, without secrets.
        secret_name: Secret of which they mount keys; None for none.
        keys: Those that they mount.
    """

    variables: tuple[tuple[str, str], ...] = ()
    secret_name: str | None = None
    keys: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """TCP ports of the Valkeys, ascending."""
        return busurls.ports(dict(self.variables).get(URLS_VARIABLE, ""))

    def is_own(self, cluster_name: str) -> bool:
        """Whether it is the operator's own Valkey of this ChatCluster."""
        return self.secret_name == bus_secret_name(cluster_name)


POSTGRESQL = ServerBus()


def own(cluster_name: str, host: str, count: int) -> ServerBus:
    """The operator's own Valkey.

    Args:
        cluster_name: Of the ChatCluster.
        host: DNS name of the Service, below which each pod has its own.
        count: Number of Valkeys.
    """
    name = part_name(cluster_name, "bus")
    urls = ",".join(f"valkeys://{name}-{number}.{host}:{PORT}" for number in range(count))
    return server_bus(
        urls, username=USERNAME, secret_name=bus_secret_name(cluster_name), keys=(AUTHORITY_KEY, PASSWORD_KEY)
    )


def server_bus(
    urls: str,
    *,
    username: str | None = None,
    prefix: str | None = None,
    secret_name: str | None = None,
    keys: tuple[str, ...] = (),
) -> ServerBus:
    """Any Valkey.

    Args:
        urls: With commas between them.
        username: ACL user; None for Valkey's default one.
        prefix: Of all keys and channels; None for the chatservers' default.
        secret_name: Secret with the files.
        keys: Of PASSWORD_KEY and AUTHORITY_KEY those that it has.
    """
    values = {
        "TYPE": "Valkey",
        "URLS": urls,
        "USERNAME": username,
        "PASSWORD_FILE": f"{FOLDER}/{PASSWORD_KEY}" if PASSWORD_KEY in keys else None,
        "CA_FILE": f"{FOLDER}/{AUTHORITY_KEY}" if AUTHORITY_KEY in keys else None,
        "PREFIX": prefix,
    }
    variables = tuple((PREFIX + name, value) for name, value in values.items() if value is not None)
    return ServerBus(variables, secret_name if keys else None, tuple(sorted(keys)))


def environment(bus: ServerBus) -> list[Manifest]:
    """The variables."""
    return [{"name": name, "value": value} for name, value in bus.variables]


def volumes(bus: ServerBus) -> list[Manifest]:
    """The volume with the files. Of the Secret only these keys: it may hold private ones."""
    if bus.secret_name is None:
        return []
    return [secret_volume(VOLUME, bus.secret_name, {key: key for key in bus.keys})]


def mounts(bus: ServerBus) -> list[Manifest]:
    """Its mount."""
    return [{"name": VOLUME, "mountPath": FOLDER, "readOnly": True}] if bus.secret_name is not None else []


def live(deployment: Manifest) -> ServerBus:
    """What the template of the chatservers' Deployment has now."""
    pod = deployment["spec"]["template"]["spec"]
    container: Manifest = next((one for one in pod["containers"] if one["name"] == "chatserver"), {})
    secret: Manifest = next((volume["secret"] for volume in pod.get("volumes") or () if volume["name"] == VOLUME), {})
    return ServerBus(
        tuple(
            (one["name"], one.get("value") or "")
            for one in container.get("env") or ()
            if one["name"].startswith(PREFIX)
        ),
        secret.get("secretName"),
        tuple(sorted(item["key"] for item in secret.get("items") or ())),
    )
