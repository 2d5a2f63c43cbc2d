"""Patroni's state in Kubernetes: its ConfigMaps, and the dynamic configuration that all members follow. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatoperator.metadata import (
    DATABASE_LABEL,
    INSTANCES_MAX,
    PATRONI_KEYS,
    claim_name,
    member_name,
    metadata,
    part_name,
    patroni_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed

PORT = 8008
"""Patroni's REST: members read from each other who has which WAL, and kubelet probes it."""

LEADER_SECONDS, LOOP_SECONDS, RETRY_SECONDS = 20, 5, 5
"""Patroni's ttl, loop_wait and retry_timeout. The first is at least the second and twice the third: a leader that the
API server does not answer has demoted itself before another one may take its place."""

LAG_BYTES_MAX = 16 * 1024 * 1024
"""Of WAL that a replica may lack and still become leader where commits wait for no replica."""

SYNCHRONOUS_INSTANCES = 1
"""Replicas that have a commit before it is acknowledged."""

PATRONI_PARAMETERS = frozenset(
    {
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_replication_slots",
        "max_wal_senders",
        "max_worker_processes",
        "track_commit_timestamp",
        "wal_keep_size",
        "wal_level",
    }
)
"""Parameters that have to be the same on all members, which Patroni therefore takes from its dynamic configuration
alone (CMDLINE_OPTIONS in patroni/postgresql/config.py)."""

CONFIG, FAILOVER, LEADER, SYNC = PATRONI_KEYS

CONFIG_ANNOTATION, INITIALIZE_ANNOTATION = "config", "initialize"
LEADER_ANNOTATION, CANDIDATE_ANNOTATION = "leader", "member"
STANDBYS_ANNOTATION = "sync_standby"
"""Of those ConfigMaps, as Patroni reads and writes them."""


STATE_ANNOTATIONS = frozenset(
    {CONFIG_ANNOTATION, INITIALIZE_ANNOTATION, LEADER_ANNOTATION, CANDIDATE_ANNOTATION, STANDBYS_ANNOTATION}
)
"""What the operator sees of Patroni's state, in any of its ConfigMaps."""


@dataclass(frozen=True)
class PatroniState:
    """What Patroni has written.

    Attributes:
        begun: There is a database, or has been one.
        leader: The member that has the leader's lock, or had it last; None before the first.
        standbys: Members of which one has each acknowledged commit; empty where commits wait for none.
        switching: A switchover is requested that Patroni has not carried out or dropped.
        strict: The configuration says that no write is acknowledged that only the leader has.
        synchronous: The configuration has commits wait for replicas at all.
    """

    begun: bool = False
    leader: str | None = None
    standbys: frozenset[str] = frozenset()
    switching: bool = False
    strict: bool = False
    synchronous: bool = True


def read(cluster_name: str, observed: Observed) -> PatroniState:
    """What the ConfigMaps say."""
    config, failover, leader, sync = (_annotations(cluster_name, observed, key) for key in PATRONI_KEYS)
    dynamic = _dynamic(config)
    named = str(sync.get(STANDBYS_ANNOTATION) or "").split(",")
    return PatroniState(
        begun=bool(config.get(INITIALIZE_ANNOTATION)),
        leader=leader.get(LEADER_ANNOTATION) or None,
        standbys=frozenset(name for name in named if name),
        strict=dynamic.get("synchronous_mode_strict") is True,
        synchronous=dynamic.get("synchronous_mode") is not False,
        switching=bool(failover.get(LEADER_ANNOTATION) or failover.get(CANDIDATE_ANNOTATION)),
    )


def _dynamic(annotations: Mapping[str, Any]) -> Mapping[str, Any]:
    """The dynamic configuration as it is stored; empty where it is none."""
    try:
        found = json.loads(annotations.get(CONFIG_ANNOTATION) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def leftovers(cluster_name: str, observed: Observed) -> tuple[str, ...]:
    """ConfigMaps with state of an earlier life: believed in a later one, it would make an old copy the leader."""
    names = [patroni_name(cluster_name, key) for key in PATRONI_KEYS]
    return tuple(
        name
        for key, name in zip(PATRONI_KEYS, names, strict=True)
        if not STATE_ANNOTATIONS.isdisjoint(_annotations(cluster_name, observed, key))
    )


def leading_claim(cluster_name: str, observed: Observed) -> str | None:
    """Claim of the member that leads and is ready, from which others can be copied; None where there is none."""
    leader = read(cluster_name, observed).leader
    for number in range(1, INSTANCES_MAX + 1):
        name = member_name(cluster_name, number)
        if name == leader and any(
            pod.name == name and pod.ready and not pod.terminating for pod in observed.component("postgres")
        ):
            return claim_name(cluster_name, number)
    return None


def _annotations(cluster_name: str, observed: Observed, key: str) -> Mapping[str, Any]:
    live = observed.child("ConfigMap", patroni_name(cluster_name, key)) or {}
    return (live.get("metadata") or {}).get("annotations") or {}


def config_maps(
    cluster: ChatCluster, parameters: Mapping[str, str], *, strict: bool, synchronous: bool = True
) -> list[Manifest]:
    """The ConfigMaps. Made here, they belong to the ChatCluster, and its pods need no right to create any.

    Args:
        cluster: The ChatCluster.
        parameters: All of postgresql.conf, of which those of PATRONI_PARAMETERS count.
        strict: No write is acknowledged that only the leader has.
        synchronous: Commits wait for replicas.
    """
    dynamic = dynamic_configuration(parameters, strict=strict, synchronous=synchronous)
    return [_config_map(cluster, key, dynamic) for key in PATRONI_KEYS]


def _config_map(cluster: ChatCluster, key: str, dynamic: Manifest) -> Manifest:
    made = metadata(cluster, patroni_name(cluster.name, key), "postgres")
    made["labels"] = {**made["labels"], DATABASE_LABEL: part_name(cluster.name, "postgres")}
    if key == CONFIG:
        text = json.dumps(dynamic, sort_keys=True, separators=(",", ":"))
        made["annotations"] = {CONFIG_ANNOTATION: text}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": made}


def dynamic_configuration(parameters: Mapping[str, str], *, strict: bool, synchronous: bool = True) -> Manifest:
    """Patroni's dynamic configuration. Only the operator writes it; what patronictl changes there is undone.

    Args:
        parameters: All of postgresql.conf.
        strict: No write is acknowledged that only the leader has.
        synchronous: Commits wait for replicas.
    """
    return {
        "ttl": LEADER_SECONDS,
        "loop_wait": LOOP_SECONDS,
        "retry_timeout": RETRY_SECONDS,
        "maximum_lag_on_failover": LAG_BYTES_MAX,
        "synchronous_mode": "quorum" if synchronous else False,
        "synchronous_mode_strict": strict,
        "synchronous_node_count": SYNCHRONOUS_INSTANCES,
        # While the API server is unavailable the leader continues as long as it reaches every member.
        "failsafe_mode": True,
        # A leader that crashed is not restarted in its place: another one takes over at once, on a timeline of its own.
        "primary_start_timeout": 0,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
            "parameters": {name: value for name, value in parameters.items() if name in PATRONI_PARAMETERS},
        },
    }
