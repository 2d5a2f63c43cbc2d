"""The cluster's two ports on 127.0.0.1: chosen once, then kept."""

from __future__ import annotations

import fcntl
import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster.paths import cache_root, known_names
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from localcluster.paths import ClusterPaths

CHAT_PORTS = range(30443, 30543)
"""Tried in this order for the chat: first the node port itself, so that the address in the ChatCluster's status is true
here too. All lie below the range from which the kernel takes ports for outgoing connections."""

API_PORTS = range(16443, 16543)
"""The same for the Kubernetes API."""


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1 of this machine.

    Attributes:
        chat: leads to the node port 30443.
        api: leads to the Kubernetes API.
    """

    chat: int
    api: int


def choose(taken: Collection[int], is_free: Callable[[int], bool]) -> Ports:
    """The first ports that no other cluster has and nobody listens on.

    Raises:
        LocalClusterError: all are in use.
    """
    return Ports(chat=_first(CHAT_PORTS, taken, is_free), api=_first(API_PORTS, taken, is_free))


def load(paths: ClusterPaths) -> Ports | None:
    """The ports chosen earlier, or None."""
    try:
        stored = json.loads((paths.state / "ports.json").read_text())
        return Ports(chat=int(stored["chat"]), api=int(stored["api"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ensure(paths: ClusterPaths, registry: Path | None = None) -> Ports:
    """The cluster's ports, chosen at the first call.

    Args:
        paths: whose ports.
        registry: folder of what all checkouts on this machine share; None: the cache.
    """
    shared = registry or cache_root()
    shared.mkdir(parents=True, exist_ok=True)
    paths.state.mkdir(parents=True, exist_ok=True)
    with (shared / "ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (stored := load(paths)) is not None:
            return stored
        # A port is another cluster's from its choice on, long before anything listens there.
        roots = _checkouts(shared, paths.root)
        others = (load(type(paths).of(name, root)) for root in roots for name in known_names(root))
        taken = {port for ports in others if ports for port in (ports.chat, ports.api)}
        chosen = choose(taken, is_free)
        partial = paths.state / "ports.json.new"
        partial.write_text(json.dumps(asdict(chosen)))
        partial.rename(paths.state / "ports.json")
        return chosen


def _checkouts(shared: Path, root: Path) -> list[Path]:
    """State folders of all checkouts on this machine that have made clusters, this one included."""
    listed = shared / "checkouts"
    known = {Path(line) for line in listed.read_text().splitlines()} if listed.exists() else set()
    found = sorted({one for one in known if one.is_dir()} | {root.resolve()})
    listed.write_text("".join(f"{one}\n" for one in found))
    return found


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _first(candidates: Iterable[int], taken: Collection[int], free: Callable[[int], bool]) -> int:
    for port in candidates:
        if port not in taken and free(port):
            return port
    raise LocalClusterError(
        "no free port on 127.0.0.1", remedy=f"free one of {CHAT_PORTS} and one of {API_PORTS}, or `make down` a cluster"
    )
