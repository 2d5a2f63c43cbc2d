"""What one cluster has on this machine, beside what others do there meanwhile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from localcluster import leftovers, process
from localcluster.engine import build_engine_folder

if TYPE_CHECKING:
    from localcluster.paths import ClusterPaths

# What this project starts. Others may start processes meanwhile, and make clusters of other names.
_OURS = re.compile(r"localcluster|dockerd|containerd|docker-proxy|kubelet|kube-|kind |mmdebstrap")


def snapshot(paths: ClusterPaths) -> leftovers.Snapshot:
    """The machine without the insides of other clusters' engines."""
    pids = [int(entry.name) for entry in process.PROC.iterdir() if entry.name.isdigit()]
    engines = [found for found in map(process.inspect, pids) if found and "localcluster.engineinit" in found.argv]
    others = frozenset(found.pid for found in engines if str(paths.engine) not in found.argv)
    return leftovers.snapshot(ignored_trees=others)


def left(paths: ClusterPaths, before: leftovers.Snapshot) -> list[str]:
    """The difference, without other people's processes and the processes and cgroups of other clusters."""
    name = paths.name
    others = re.compile(rf"/\.local/(?!{name}\b)[a-z0-9-]+[/ ]|chatcluster-(?!{name}\b)(?!build\b)[a-z0-9-]+-")
    found = leftovers.diff(before, snapshot(paths))
    # Whoever started the build engine removes it; until then it is at work for another cluster.
    building = process.find("localcluster.engineinit", str(build_engine_folder()))
    return [
        line
        for line in found
        if not others.search(line)
        and not (building and re.search("chatcluster-build|/chatcluster/engine", line))
        and (line[:10] != "processes:" or _concerns(line, paths))
    ]


def _concerns(line: str, paths: ClusterPaths) -> bool:
    return bool(_OURS.search(line)) or str(paths.state) in line or f"-{paths.name}-" in line
