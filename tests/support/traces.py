"""What one cluster has on this machine, beside what others do there meanwhile."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from localcluster import leftovers, process
from localcluster.engine import build_engine_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localcluster.paths import ClusterPaths

# What this project starts. Others may start processes meanwhile, and make clusters of other names.
_OURS = re.compile(r"localcluster|dockerd|containerd|docker-proxy|kubelet|kube-|kind |mmdebstrap")
# What tests of other lanes have meanwhile: their commands, which name folders of tests, and their volumes.
_LANES = re.compile(r"--lane\b|/chat-volume-")
# How its cgroups are called: its own, the engine's, kubelet's. Whoever starts a session meanwhile gets others.
_OUR_CGROUPS = re.compile(r"chatcluster|docker|containerd|kube|buildkit|kind")


def snapshot(paths: ClusterPaths) -> leftovers.Snapshot:
    """The machine without the processes of other clusters and of other lanes, which may come and go meanwhile."""
    engines = [found for found in process.find("localcluster.engineinit") if str(paths.engine) not in found.argv]
    relays = [found for found in process.find("localcluster.relay") if str(paths.state) not in found.argv]
    others = {found.pid for found in (*engines, *relays)} | {_parent(found.pid) for found in engines}
    # Among them are API servers, and processes in networks of their own.
    lanes = {found.pid for found in process.find("--lane")} - set(_ancestors())
    return leftovers.snapshot(ignored_trees=frozenset(others | lanes))


def _ancestors() -> Iterator[int]:
    pid, child = os.getpid(), 0
    while pid != child:
        yield pid
        pid, child = _parent(pid), pid


def _parent(pid: int) -> int:
    """The program that made an engine's namespaces is in them too; the process itself where it ended meanwhile."""
    try:
        parent = int(process.stat_fields((process.PROC / str(pid) / "stat").read_text())[1])
    except OSError:
        return pid
    # An engine whose maker died belongs to init, which is nobody's.
    return parent if parent > 1 else pid


def left(paths: ClusterPaths, before: leftovers.Snapshot) -> list[str]:
    """The difference, without other people's processes and the processes and cgroups of other clusters."""
    name = paths.name
    another = rf"(?!{name}\b)[a-z0-9-]+"
    others = re.compile(rf"/\.local/{another}[/ ]|localcluster --name {another}|chatcluster-(?!build\b){another}-")
    found = leftovers.diff(before, snapshot(paths))
    # Whoever started the build engine removes it; until then it is at work for another cluster.
    building = process.find("localcluster.engineinit", str(build_engine_folder()))
    return [
        line
        for line in found
        if not (others.search(line) or _LANES.search(line))
        and not (building and re.search("chatcluster-build|/chatcluster/engine", line))
        and _concerns(line, paths)
    ]


def _concerns(line: str, paths: ClusterPaths) -> bool:
    if line.startswith("cgroups:"):
        return bool(_OUR_CGROUPS.search(line))
    return (
        line[:10] != "processes:" or bool(_OURS.search(line)) or str(paths.state) in line or f"-{paths.name}-" in line
    )
