"""The bus: which one the chatservers may use now, and which Valkey pods there have to be meanwhile. Pure.

What chatservers use is there before they do, and stays until none of them uses it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import ready_replicas, rolling
from chatoperator.kube.ownership import own_names
from chatoperator.metadata import part_name, service_host
from chatoperator.parts.bus import credentials as bus_credentials
from chatoperator.parts.bus.access import POSTGRESQL, live, own
from chatoperator.parts.bus.external import BusSecretError, judge

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.bus.access import ServerBus
    from chatoperator.parts.bus.credentials import BusCredentials


@dataclass(frozen=True)
class DesiredBus:
    """The bus, as it should be now.

    Attributes:
        servers: What the chatservers' template says.
        pods: Number of Valkey pods; None where the spec requires none.
        credentials: Of those pods.
        leaving: Valkey pods that the spec no longer requires stay, because chatservers may still use them.
        moving: The chatservers do not all use the bus of the spec yet.
        secret_error: What is wrong with the Secret of an external bus; None where nothing is.
    """

    servers: ServerBus = POSTGRESQL
    pods: int | None = None
    credentials: BusCredentials | None = None
    leaving: bool = False
    moving: bool = False
    secret_error: str | None = None


def decide(
    cluster: ChatCluster,
    observed: Observed,
    *,
    cluster_domain: str,
    now: dt.datetime,
    new_secret: Callable[[], str],
) -> DesiredBus:
    """Decide it from the spec and from what the chatservers use now.

    Args:
        cluster: The parsed spec.
        observed: Its children and the user's Secrets.
        cluster_domain: DNS domain of the Kubernetes cluster, such as `cluster.local`.
        now: The time with its zone.
        new_secret: Makes a password.
    """
    deployment = observed.workload(cluster.name, "chatserver")
    present = live(deployment) if deployment is not None else None
    valkeys = observed.workload(cluster.name, "bus")
    try:
        target = _target(cluster, observed, cluster_domain)
    except BusSecretError as error:
        # What works is not taken from the chatservers because of a Secret that does not.
        return DesiredBus(present or POSTGRESQL, leaving=valkeys is not None, moving=True, secret_error=str(error))
    settled = present == target and _is_everywhere(observed, deployment)
    spec = cluster.bus.valkeys
    if spec is None:
        return DesiredBus(target, leaving=valkeys is not None and not settled, moving=not settled)
    held = int(valkeys["spec"].get("replicas", 1)) if valkeys is not None else 0
    return DesiredBus(
        _usable(cluster, observed, present, target, spec.replicas),
        pods=spec.replicas if settled else max(spec.replicas, held),
        credentials=bus_credentials.decide(
            cluster, observed, host=_host(cluster, cluster_domain), now=now, new_secret=new_secret
        ),
        moving=not settled,
    )


def _target(cluster: ChatCluster, observed: Observed, cluster_domain: str) -> ServerBus:
    """The bus of the spec.

    Raises:
        BusSecretError: The Secret of an external one cannot be used.
    """
    name = cluster.bus.external_secret_name
    if name is not None:
        default_prefix = f"{cluster.namespace}.{cluster.name}"
        return judge(name, observed.user_secrets.get(name), default_prefix=default_prefix)
    if cluster.bus.valkeys is None:
        return POSTGRESQL
    return own(cluster.name, _host(cluster, cluster_domain), cluster.bus.valkeys.replicas)


def _usable(
    cluster: ChatCluster, observed: Observed, present: ServerBus | None, target: ServerBus, count: int
) -> ServerBus:
    """The operator's Valkey once all of it is ready; until then what chatservers use now.

    Chatservers that do not exist yet start with it: they connect when it is there. Where somebody else has one of its
    names it may never be.
    """
    valkeys = observed.workload(cluster.name, "bus")
    ready = valkeys is not None and ready_replicas(valkeys) >= count
    if present == target or (ready and not rolling(valkeys)):
        return target
    if present is not None:
        return present
    names = {key for key in own_names(cluster.name) if key[1] == part_name(cluster.name, "bus")}
    return POSTGRESQL if names & observed.others.keys() else target


def _is_everywhere(observed: Observed, deployment: Manifest | None) -> bool:
    """Whether no chatserver runs with an older template than the Deployment's."""
    # A server on a lost node may never be gone: it serves nobody.
    draining = any(server.terminating and not server.lost for server in observed.component("chatserver"))
    return deployment is not None and not rolling(deployment) and not draining


def _host(cluster: ChatCluster, cluster_domain: str) -> str:
    return f"{service_host(cluster, 'bus')}.{cluster_domain}"
