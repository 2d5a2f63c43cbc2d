"""The operator's own settings, read once from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


MEMORY_BYTES = 512 * 1024 * 1024
"""The chart's limit, for a process without the setting."""


API_SERVER_PORTS = (443, 6443)
"""Of most API servers: behind a load balancer, and of kubeadm, kind and OpenShift."""


@dataclass(frozen=True)
class Images:
    """Images of one release; one that runs no Valkey has none of it."""

    chatserver: str
    postgres: str
    haproxy: str
    valkey: str = ""


@dataclass(frozen=True)
class Settings:
    """The operator's settings.

    Attributes:
        version: Release that the images belong to.
        images: Images of that release.
        image_pull_policy: Of every container in the data plane.
        namespace: The operator's own.
        pod_name: The operator's own.
        lease_name: Of the Lease, in the operator's own namespace, whose holder reconciles.
        watch_namespaces: The namespaces to serve; none for the whole cluster.
        cluster_domain: DNS domain of the Kubernetes cluster.
        health_port: Where kubelet probes whether the operator is alive.
        metrics_port: Where Prometheus reads.
        log_level: Of the standard library's names.
        memory_bytes: That the process may use: its container's limit.
        api_server_ports: TCP ports of the API server, as NetworkPolicies see them.
    """

    version: str
    images: Images
    image_pull_policy: str
    namespace: str
    pod_name: str
    lease_name: str
    watch_namespaces: tuple[str, ...]
    cluster_domain: str
    health_port: int
    metrics_port: int
    log_level: str
    memory_bytes: int = MEMORY_BYTES
    api_server_ports: tuple[int, ...] = API_SERVER_PORTS

    @property
    def cache_bytes_max(self) -> int:
        """For cached objects; the rest is for Python, what is being read, and the reconciles that run."""
        return self.memory_bytes * 3 // 8


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: A variable is missing or wrong; it names the variable.
    """
    return Settings(
        version=_required(environment, "CHATOPERATOR_VERSION"),
        images=Images(
            chatserver=_required(environment, "CHATOPERATOR_IMAGE_CHATSERVER"),
            postgres=_required(environment, "CHATOPERATOR_IMAGE_POSTGRES"),
            haproxy=_required(environment, "CHATOPERATOR_IMAGE_HAPROXY"),
            valkey=_required(environment, "CHATOPERATOR_IMAGE_VALKEY"),
        ),
        image_pull_policy=_choice(environment, "CHATOPERATOR_IMAGE_PULL_POLICY", ("IfNotPresent", "Always", "Never")),
        namespace=_required(environment, "CHATOPERATOR_NAMESPACE"),
        pod_name=environment.get("POD_NAME", "chatoperator"),
        lease_name=environment.get("CHATOPERATOR_LEASE_NAME") or "chatcluster-operator",
        watch_namespaces=_names(environment, "CHATOPERATOR_WATCH_NAMESPACES"),
        cluster_domain=environment.get("CHATOPERATOR_CLUSTER_DOMAIN", "cluster.local"),
        health_port=_port(environment, "CHATOPERATOR_HEALTH_PORT", 8080),
        metrics_port=_port(environment, "CHATOPERATOR_METRICS_PORT", 9090),
        log_level=_choice(environment, "CHATOPERATOR_LOG_LEVEL", ("INFO", "DEBUG", "WARNING", "ERROR")),
        memory_bytes=_bytes(environment, "CHATOPERATOR_MEMORY_BYTES", MEMORY_BYTES),
        api_server_ports=_ports(environment, "CHATOPERATOR_API_SERVER_PORTS", API_SERVER_PORTS),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(
            f"environment variable {name} is not set; install the operator with its Helm chart, which sets it"
        )
    return value


def _choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = environment.get(name) or choices[0]
    if value not in choices:
        raise SettingsError(f"environment variable {name} is {value!r}; it must be one of {', '.join(choices)}")
    return value


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Names with commas between them: `a, b,a` -> `("a", "b")`."""
    parts = (part.strip() for part in environment.get(name, "").split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def _ports(environment: Mapping[str, str], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Ports with commas between them."""
    given = _names(environment, name)
    return tuple(_port({name: text}, name, 0) for text in given) or default


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    highest = 65535
    if not text.isdecimal() or not 1 <= int(text) <= highest:
        raise SettingsError(f"environment variable {name} is {text!r}; it must be a port from 1 to {highest}")
    return int(text)


def _bytes(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not int(text):
        raise SettingsError(f"environment variable {name} is {text!r}; it must be a positive number of bytes")
    return int(text)
