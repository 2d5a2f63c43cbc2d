"""Reads what Patroni says of this instance, in the form in which the operator gets it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postgresagent.patroni import PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 2
"""Longest wait for Patroni, which answers from memory."""

PRIMARY, REPLICA = "primary", "replica"

_LEADERS = ("leader", "standby_leader", "primary", "promoted")


@dataclass(frozen=True)
class Member:
    """One instance among several.

    Attributes:
        role: PRIMARY, or REPLICA, which an instance also is while it is cloned or does not run.
        state: Patroni's word, such as `running`, `streaming`, `creating replica` or `start failed`.
        timeline: PostgreSQL's; None while it is not known.
        lag_bytes: WAL that the leader has and this instance has not; None on the leader, and while it is not known.
        synchronous: Whether commits may be acknowledged once this instance has them; None on the leader.
        pending_restart: Whether PostgreSQL has to be restarted for parameters that Patroni owns.
        paused: Whether somebody has paused Patroni, which then changes nothing.
        leader: The leader's name; None if there is none, or Patroni does not know.
    """

    role: str
    state: str
    timeline: int | None
    lag_bytes: int | None
    synchronous: bool | None
    pending_restart: bool
    paused: bool
    leader: str | None

    @property
    def has_failed_to_start(self) -> bool:
        """Whether PostgreSQL ended when Patroni started it."""
        return "start failed" in self.state or "restart failed" in self.state


def member(name: str, own: Mapping[str, Any], cluster: Mapping[str, Any]) -> Member:
    """Return the state of a member.

    Args:
        name: Of the member.
        own: What GET /patroni answers, which knows no other member; empty if it was not needed.
        cluster: What GET /cluster answers; empty while the API server does not.
    """
    members = {one["name"]: one for one in cluster.get("members", ())}
    found = {**own, **members.get(name, {})}
    is_leader = found.get("role") in _LEADERS
    lag = found.get("lag")
    return Member(
        role=PRIMARY if is_leader else REPLICA,
        state=str(found.get("state", "unknown")),
        timeline=found.get("timeline"),
        lag_bytes=lag if isinstance(lag, int) and not is_leader else None,
        synchronous=None if is_leader else found.get("role") in {"sync_standby", "quorum_standby"},
        pending_restart=bool(found.get("pending_restart")),
        paused=bool(cluster.get("pause") or own.get("pause")),
        leader=next((one for one, what in members.items() if what["role"] in _LEADERS), None),
    )


class Patroni:
    """Patroni's REST API of this instance.

    Args:
        name: The instance's.
        address: Where Patroni listens.
    """

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._url = f"http://{f'[{address}]' if ':' in address else address}:{PORT}"
        # Nothing in a pod's environment sends a request to itself elsewhere.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def member(self) -> Member | None:
        """Return the state of this instance; None while Patroni does not answer."""
        cluster = self._read("/cluster") or {}
        known = self._name in {one["name"] for one in cluster.get("members", ())}
        own = {} if known else self._read("/patroni")
        return None if own is None else member(self._name, own, cluster)

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            with self._opener.open(self._url + path, timeout=SECONDS) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            # An instance that does not run says so with 503.
            with error:
                found = _decoded(error.read())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
