"""The postgres image's file system for tests: the Dockerfile's packages of Debian, without building an image.

It is unpacked into the cache once, and containers are processes in namespaces of their own with its root read-only.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster.bootstrap import DEFAULT_MIRROR, apt_settings, sources
from localcluster.images import BASE_SUITE
from localcluster.paths import cache_root
from tests.support.caching import building
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE = ("base-files", "bash", "coreutils", "dash", "diffutils", "grep", "sed", "util-linux")
"""What the entrypoint uses of the base image."""

MOUNTED = {
    "volume": "var/lib/postgresql/data",
    "run": "var/run/postgresql",
    "tmp": "tmp",
    "database": "etc/chatcluster/database",
    "postgres": "etc/chatcluster/postgres",
    "token": "var/run/secrets/kubernetes.io/serviceaccount",
    "backup": "etc/chatcluster/backup",
    "backup-tls": "etc/chatcluster/backup-tls",
    "restore": "etc/chatcluster/restore",
    "restore-tls": "etc/chatcluster/restore-tls",
    "store": "etc/chatcluster/backup-store",
    "store-ca": "etc/chatcluster/backup-store-ca",
    "authorities": "etc/ssl/certs",
    "repository": "repository",
    "drill": "drill",
}
"""A pod's volumes, as folders of the test, and where containers have them."""

# As container runtimes do: nothing of the machine is there but what is mounted, nobody gains rights, and no signal is
# ignored, as SIGINT is in what a shell runs in the background.
_SCRIPT = """
set -e
mount --bind "$IMAGE" "$HERE/root" && mount -o remount,ro,bind "$HERE/root"
for pair in $MOUNTS; do mount --bind "$HERE/${pair%%:*}" "$HERE/root/${pair#*:}"; done
mount --bind "$AGENT" "$HERE/root/opt/postgres" && mount -o remount,ro,bind "$HERE/root/opt/postgres"
mount --bind "$HERE/passwd" "$HERE/root/etc/passwd" && mount --bind "$HERE/hosts" "$HERE/root/etc/hosts"
mount --rbind /dev "$HERE/root/dev" && mount -t tmpfs tmpfs "$HERE/root/dev/shm"
mount -t proc proc "$HERE/root/proc"
exec chroot "$HERE/root" setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups --no-new-privs --inh-caps=-all \\
  --pdeathsig keep env -i --default-signal=INT "$@"
"""


def packages() -> list[str]:
    """The packages that the Dockerfile installs into the image."""
    stage = (ROOT / "Dockerfile").read_text().partition(" AS postgres\n")[2].partition("\nFROM ")[0]
    found = re.findall(r"apt-get install -y --no-install-recommends (.*?) *\\\n", stage)
    return ["python3", *" ".join(found).split()]


def unpacked() -> Path:
    """The image's root file system."""
    named = packages()
    folder = cache_root() / f"postgres-image-{BASE_SUITE}-{len(named)}"
    listed = folder / "packages"
    if not listed.exists() or listed.read_text().split() != named:
        _unpack(folder, named)
    root = folder / "root"
    for path in [*MOUNTED.values(), "opt/postgres"]:
        (root / path).mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "hosts"):
        (root / "etc" / name).touch()
    return root


def _unpack(folder: Path, named: list[str]) -> None:
    with building(folder) as made:
        (made / "apt.conf").write_text(apt_settings())
        mirror = os.environ.get("CHATCLUSTER_DEBIAN_MIRROR", DEFAULT_MIRROR)
        left_out = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "locale", "man")]
        command = ["mmdebstrap", "--variant=extract", f"--include={','.join([*BASE, *named])}", *left_out]
        command += [f"--aptopt={made}/apt.conf", BASE_SUITE, f"{made}/root", *sources(BASE_SUITE, mirror)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FileNotFoundError(f"no postgres image from {mirror}: {done.stderr[-500:]}")
        # Or each start compiles all of Patroni: nobody may write there.
        subprocess.run(
            ["chroot", str(made / "root"), "python3", "-m", "compileall", "-q", "/usr/lib/python3"], check=False
        )
        (made / "packages").write_text("\n".join(named))


class Pod:
    """A pod's folders, in which its containers run.

    Args:
        folder: An empty one for this pod.
        user_id: Of the user `postgres` in its containers, so that rules of a network know whose packets they see.
    """

    def __init__(self, folder: Path, user_id: int) -> None:
        self.folder = folder
        self.user_id = user_id
        for name in ("root", *MOUNTED):
            (folder / name).mkdir(parents=True)
            os.chown(folder / name, user_id, user_id)
        (folder / "passwd").write_text(f"postgres:x:{user_id}:{user_id}::/var/lib/postgresql:/bin/bash\n")
        self.write_hosts({})

    def write_hosts(self, addresses: Mapping[str, str]) -> None:
        """Say at which address each name is reached, also in containers that run."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
        (self.folder / "hosts").write_text("".join(f"{line}\n" for line in lines))

    def write(self, volume: str, files: Mapping[str, str]) -> None:
        """Replace files that are mounted."""
        for name, text in files.items():
            new = self.folder / volume / f".{name}.new"
            new.write_text(text)
            new.chmod(0o644)
            new.rename(self.folder / volume / name)

    def run(self, name: str, *arguments: str, **environment: str) -> Container:
        """Start a container, whose output goes to the file `name`.log."""
        return Container(self, name, ["/opt/postgres/entrypoint", *arguments], environment)

    def execute(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end with what a container has mounted."""
        arguments, variables = command_line(self, list(command), environment)
        return subprocess.run(arguments, env=variables, capture_output=True, text=True, timeout=60, check=False)


class Container:
    """A container of a pod: its first process is the first of a process namespace, which ends with it."""

    def __init__(self, pod: Pod, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        self.log = pod.folder / f"{name}.log"
        with self.log.open("ab") as log:
            arguments, variables = command_line(pod, command, environment)
            self.process = subprocess.Popen(
                arguments, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """End all of its processes at once, as a node that loses its power."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 60) -> None:
        """Stop it as kubelet does, with the image's signal."""
        self._signal(signal.SIGINT)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        # Its first process: what waits for it outside would leave it behind.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            for pid in children.read_text().split():
                os.kill(int(pid), number)


PATH = "/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def command_line(pod: Pod, command: list[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command that runs another one in a pod, and its environment."""
    inside = {"PATH": PATH, "PGDATA": "/var/lib/postgresql/data/pgdata", "LANG": "C.UTF-8", **environment}
    inside |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/var/lib/postgresql"}
    variables = {
        "PATH": os.environ["PATH"],
        "IMAGE": str(unpacked()),
        "HERE": str(pod.folder),
        "AGENT": str(ROOT / "images" / "postgres"),
        "MOUNTS": " ".join(f"{name}:{path}" for name, path in MOUNTED.items()),
        "USER_ID": str(pod.user_id),
    }
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation=private"]
    inner = [f"{name}={value}" for name, value in inside.items()]
    return [*namespaces, "bash", "-c", _SCRIPT, "container", *inner, *command], variables
