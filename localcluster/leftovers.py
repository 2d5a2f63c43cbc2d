"""What a cluster could leave on a machine: a snapshot before and after, and their difference.

python -m localcluster.leftovers snapshot > before.json
python -m localcluster.leftovers diff before.json     # exit status 1 and one line for each leftover
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import process
from localcluster.cgroups import CGROUP_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Snapshot = dict[str, list[str]]
"""Kind of thing -> its instances, as lines."""

_COMMANDS: Mapping[str, Sequence[str]] = {
    "links": ("ip", "-brief", "link"),
    "addresses": ("ip", "-brief", "address"),
    "routes": ("ip", "route", "show", "table", "all"),
    "routes6": ("ip", "-6", "route", "show", "table", "all"),
    "rules": ("ip", "rule"),
    "named network namespaces": ("ip", "netns", "list"),
    "nftables": ("nft", "list", "ruleset"),
    "iptables": ("iptables-save",),
    "iptables (legacy)": ("iptables-legacy-save",),
    "forwarding": ("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
}

# Numbers that change without a leftover: packet counters, remaining lifetimes, dates in comments.
_VOLATILE = re.compile(r"\[\d+:\d+\]|counter packets \d+ bytes \d+|expires \d+sec|^#.*$", re.MULTILINE)


def snapshot(*, ignored_trees: frozenset[int] = frozenset()) -> Snapshot:
    """The machine's processes, mounts, namespaces, network settings and cgroups.

    Args:
        ignored_trees: processes that are not looked at, with all their descendants, such as other clusters' engines;
            this process and its ancestors are not looked at either.
    """
    taken: Snapshot = {kind: _lines(argv) for kind, argv in _COMMANDS.items()}
    own = _ancestry(os.getpid())
    pids = [int(entry.name) for entry in process.PROC.iterdir() if entry.name.isdigit()]
    seen = [pid for pid in pids if pid not in own and not ignored_trees & _ancestry(pid)]
    taken["processes"] = _processes(seen)
    taken["mounts"] = sorted(line.split(" - ")[0].split(maxsplit=3)[3] for line in _read("/proc/self/mountinfo"))
    taken["network namespaces"] = _network_namespaces(seen)
    taken["cgroups"] = sorted(path for path, _, _ in os.walk(CGROUP_ROOT))
    return taken


def diff(before: Snapshot, after: Snapshot) -> list[str]:
    """What is there now and was not before, and the reverse, one line each; empty when nothing was left.

    Example:
        A bridge that stayed gives `links: + docker0 ...`.
    """
    found = []
    for kind in sorted(before.keys() | after.keys()):
        was, now = before.get(kind, []), after.get(kind, [])
        known = set(was)
        new = [line for line in now if line not in known]
        # What lies below a new folder says nothing more.
        found += [f"{kind}: + {line}" for line in new if kind != "cgroups" or str(Path(line).parent) in known]
        # Other processes may end meanwhile: only new ones are leftovers.
        if kind not in {"processes", "network namespaces", "cgroups"}:
            found += [f"{kind}: - {line}" for line in was if line not in now]
    return found


def _lines(argv: Sequence[str]) -> list[str]:
    output = process.output_of(argv, timeout_seconds=20) or ""
    return [line.strip() for line in _VOLATILE.sub("", output).splitlines() if line.strip()]


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _processes(pids: Sequence[int]) -> list[str]:
    """One line a process, with its id and start time, so that a new process of an old name shows."""
    found = []
    for pid in pids:
        one = process.inspect(pid)
        # Kernel threads have no arguments, and start and exit independently.
        if one is not None and one.argv:
            found.append(f"{one.pid} started {one.start_ticks}: {' '.join(one.argv)[:200]}")
    return sorted(found)


def _network_namespaces(pids: Sequence[int]) -> list[str]:
    found = set()
    for pid in pids:
        # A process may end between the listing and this look.
        with contextlib.suppress(OSError):
            found.add(str((process.PROC / str(pid) / "ns" / "net").readlink()))
    return sorted(found)


def _ancestry(pid: int) -> frozenset[int]:
    """The process and its ancestors."""
    found = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int(process.stat_fields((process.PROC / str(pid) / "stat").read_text())[1])
        except OSError:
            break
    return frozenset(found)


def main(arguments: Sequence[str]) -> int:
    """Run as a program; see the module's docstring."""
    if arguments[:1] == ["snapshot"]:
        print(json.dumps(snapshot(), indent=1))
        return 0
    if arguments[:1] == ["diff"] and len(arguments) > 1:
        left = diff(json.loads(Path(arguments[1]).read_text()), snapshot())
        print("\n".join(left) if left else "nothing was left behind")
        return 1 if left else 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
