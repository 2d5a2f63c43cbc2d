"""PID 1 of a private engine's namespaces: prepares mounts and loopback, runs dockerd, reaps orphans.

`engine.py` starts it below `unshare`. When this one process ends, however it ends, the kernel ends every process of the
engine and its containers and drops their mounts, links, routes and firewall rules: nothing can be left behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from pathlib import Path

RUN_DIRECTORY = Path("/run/chatcluster")

SOCKET = RUN_DIRECTORY / "docker.sock"
"""The engine's API; from outside it is seen as /proc/PID/root/run/chatcluster/docker.sock."""


def dockerd_arguments(engine: Path, cgroup: str, *, build: bool) -> list[str]:
    """The command line of dockerd.

    Args:
        engine: the folder with `data` and `daemon.json`.
        cgroup: the parent of all its containers' cgroups.
        build: an engine in the host's network that only builds images: it must touch no link and no firewall rule.
    """
    arguments = [
        "dockerd",
        f"--config-file={engine / 'daemon.json'}",
        f"--data-root={engine / 'data'}",
        f"--exec-root={RUN_DIRECTORY / 'exec'}",
        f"--pidfile={RUN_DIRECTORY / 'docker.pid'}",
        f"--host=unix://{SOCKET}",
        f"--cgroup-parent=/{cgroup}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]
    if build:
        arguments += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    return arguments


def prepare(*, build: bool) -> None:
    """Give the engine a /run and an /etc/docker of its own, and a loopback device that is up."""
    # Sockets, locks and keys with fixed paths: in the host's /run and /etc they would outlive the engine.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "chatcluster", "/run"], check=True)
    if Path("/etc/docker").is_dir():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "chatcluster", "/etc/docker"], check=True)
    RUN_DIRECTORY.mkdir()
    if not build:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def supervise(arguments: list[str]) -> int:
    """Run dockerd to its end, reaping whatever is orphaned meanwhile.

    Returns:
        dockerd's exit status.
    """
    daemon = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: daemon.send_signal(signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == daemon.pid:
            return os.waitstatus_to_exitcode(status)


def main() -> int:
    """Run as `python -m localcluster.engineinit ENGINE --cgroup NAME [--build]`."""
    parser = argparse.ArgumentParser(prog="localcluster.engineinit")
    parser.add_argument("engine", type=Path)
    parser.add_argument("--cgroup", required=True)
    parser.add_argument("--build", action="store_true")
    options = parser.parse_args()
    prepare(build=options.build)
    return supervise(dockerd_arguments(options.engine, options.cgroup, build=options.build))


if __name__ == "__main__":
    raise SystemExit(main())
