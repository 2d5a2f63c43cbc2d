"""The Docker Engine: the user's where one answers, else a private one in namespaces of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from localcluster import process
from localcluster.cgroups import remove_cgroups
from localcluster.engineinit import SOCKET
from localcluster.host import lacks_sys_resource, trust_folder
from localcluster.lock import MARK
from localcluster.paths import REPO_ROOT, cache_root, short_hash
from localcluster.progress import LocalClusterError, deadline, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from localcluster.paths import ClusterPaths
    from localcluster.progress import Stage

START_SECONDS = 60
"""Seconds dockerd may take to answer; 1 to 3 s is usual, more after a crash with many layers."""

PULL_TIMEOUT_SECONDS = 900
"""Seconds for one image; kindest/node is about 1 GB."""

RUNTIME = "chatcluster"

_ROOTLESS_PAGE = "https://kind.sigs.k8s.io/docs/user/rootless/"

_RUNTIME_PROGRAM = Path(__file__).parent / "runtime.py"


@dataclass(frozen=True)
class Engine:
    """A Docker Engine that answers.

    Attributes:
        private: started by this project, in its own namespaces.
        init: PID 1 of a private engine's namespaces, seen from here; None for the user's engine.
        environment: what a client needs in its environment to reach it.
    """

    private: bool
    init: process.Process | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        """The whole environment for `docker` and `kind`."""
        return {**os.environ, **self.environment}

    def docker(
        self, *arguments: str | Path, log: Path, timeout_seconds: float = 120, stdin: BinaryIO | None = None
    ) -> None:
        """Run a docker command.

        Raises:
            LocalClusterError: it failed.
        """
        process.run(["docker", *arguments], log=log, timeout_seconds=timeout_seconds, env=self.env(), stdin=stdin)

    def query(self, *arguments: str, timeout_seconds: float = 30) -> str | None:
        """The output of a docker command; None if it failed."""
        return process.output_of(["docker", *arguments], timeout_seconds=timeout_seconds, env=self.env())

    def has_image(self, reference: str) -> bool:
        """Whether the image is in this engine's store."""
        return self.query("image", "inspect", "--format", "{{.Id}}", reference) is not None

    def pull(self, reference: str, *, log: Path) -> bool:
        """Whether the image is here now; False where no registry has it for us."""
        if self.has_image(reference):
            return True
        try:
            self.docker("pull", "--quiet", reference, log=log, timeout_seconds=PULL_TIMEOUT_SECONDS)
        except LocalClusterError:
            return False
        return True


def users_engine() -> Engine | None:
    """The engine that `docker info` reaches as the user has set it up, or None."""
    version = process.output_of(["docker", "info", "--format", "{{.ServerVersion}}"], timeout_seconds=20)
    return Engine(private=False) if version else None


def check_program() -> None:
    """Reject Podman's imitation of the command `docker`.

    Raises:
        LocalClusterError: it is that.
    """
    if "podman" in (process.output_of(["docker", "--version"], timeout_seconds=20) or "").lower():
        raise LocalClusterError(
            "`docker` is Podman here, which is not supported",
            remedy="install Docker Engine, or remove the package podman-docker so that a private engine is started",
        )


def check_engine(engine: Engine) -> None:
    """Reject an engine in which kind cannot make a cluster as this project needs it.

    Raises:
        LocalClusterError: it is Podman, or it runs without root on cgroup v1.
    """
    components = engine.query("version", "--format", "{{range .Server.Components}}{{.Name}};{{end}}") or ""
    if "Podman" in components:
        raise LocalClusterError(
            "the engine that `docker` reaches is Podman, which is not supported",
            remedy="start a Docker Engine and choose it with `docker context use` or DOCKER_HOST",
        )
    options = engine.query("info", "--format", "{{.SecurityOptions}} cgroup={{.CgroupVersion}}") or ""
    if "name=rootless" in options:
        if "cgroup=2" not in options:
            raise LocalClusterError(
                "your Docker Engine runs without root on cgroup v1, where kind cannot limit what a node takes",
                remedy="use a machine with cgroup v2, or a Docker Engine that runs as root",
            )
        say(f"    your Docker Engine runs without root: kind then needs cgroup delegation, see {_ROOTLESS_PAGE}")


def running_engine(folder: Path) -> Engine | None:
    """The private engine of this folder if its PID 1 lives."""
    # The first match is `unshare` itself, which has the same words in its arguments.
    found = [found for found in process.find("localcluster.engineinit", str(folder)) if "unshare" not in found.argv[0]]
    if not found:
        return None
    socket = Path(f"/proc/{found[0].pid}/root{SOCKET}")
    return Engine(private=True, init=found[0], environment=_client_environment(socket))


def start_private(folder: Path, cgroup: str, log: Path, *, build: bool = False) -> Engine:
    """The private engine of this folder, started if it does not run.

    Raises:
        LocalClusterError: it does not answer within the time limit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if running_engine(folder) is None:
        (folder / "daemon.json").write_text(json.dumps(daemon_configuration(_runtime_arguments(folder, build=build))))
        namespaces = ["--mount", "--pid", *([] if build else ["--net"])]
        process.start_daemon(
            [
                *["unshare", *namespaces, "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation=private"],
                *[sys.executable, "-m", "localcluster.engineinit", str(folder), "--cgroup", cgroup],
                *(["--build"] if build else []),
            ],
            log=log,
            cwd=REPO_ROOT,
            env=_daemon_environment(),
        )
    with deadline(START_SECONDS, "dockerd does not answer", "see the log; `make down` cleans up", log) as wait:
        while True:
            engine = running_engine(folder)
            if engine is not None and engine.query("info", "--format", "{{.ServerVersion}}"):
                return engine
            wait.sleep(0.2)


def stop_private(folder: Path, cgroup: str) -> None:
    """End the private engine of this folder, all its containers, and their cgroups."""
    process.end(process.find("localcluster.engineinit", str(folder)), grace_seconds=0)
    remove_cgroups(cgroup)


@contextlib.contextmanager
def build_engine(paths: ClusterPaths, stage: Stage) -> Iterator[Engine]:
    """An engine whose build steps reach the package registries.

    The user's engine can do that. A private engine in its own network namespace has no way out, so another one, in the
    host's network, builds; it serves all clusters, one after the other, and runs only as long as it is needed.
    """
    if (engine := users_engine()) is not None:
        yield engine
        return
    folder = build_engine_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        stage.detail = "waiting for the build of another cluster"
        fcntl.flock(lock, fcntl.LOCK_EX)
        stage.detail = "starting the build engine"
        # Left by a `make up` that was killed: it may hold another configuration.
        stop_private(folder, build_cgroup())
        shutil.rmtree(cache_root() / "tmp", ignore_errors=True)
        try:
            yield start_private(folder, build_cgroup(), paths.logs / "build-engine.log", build=True)
        finally:
            stop_private(folder, build_cgroup())


def build_engine_folder() -> Path:
    """Data and settings of the build engine."""
    return cache_root() / "engine"


def build_cgroup() -> str:
    """The parent of all cgroups of the build engine."""
    return f"chatcluster-build-{short_hash(str(build_engine_folder()))}"


def stop_abandoned_build_engine() -> None:
    """End a build engine whose `make up` was killed; one that is in use is left alone."""
    lock_file = build_engine_folder() / "lock"
    if not lock_file.exists():
        return
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        stop_private(build_engine_folder(), build_cgroup())


def daemon_configuration(runtime_arguments: Sequence[str]) -> dict[str, object]:
    """The contents of dockerd's daemon.json."""
    configuration: dict[str, object] = {"features": {"buildkit": False}}
    if runtime_arguments:
        configuration["runtimes"] = {
            RUNTIME: {"path": sys.executable, "runtimeArgs": ["-I", str(_RUNTIME_PROGRAM), *runtime_arguments]}
        }
        configuration["default-runtime"] = RUNTIME
    return configuration


def _runtime_arguments(folder: Path, *, build: bool) -> list[str]:
    arguments = ["--drop-sys-resource"] if lacks_sys_resource() else []
    if build and (trust := trust_folder(folder / "trust")) is not None:
        arguments += ["--trust", str(trust)]
    return arguments


def _client_environment(socket: Path) -> dict[str, str]:
    # The classic builder: BuildKit runs its steps with its own runc, past the runtime that this machine may need.
    return {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0", "DOCKER_CONTEXT": "default"}


def _daemon_environment() -> dict[str, str]:
    # dockerd and iptables live in sbin, which a user's PATH may lack.
    kept = {name: value for name, value in os.environ.items() if name != MARK}
    return {**kept, "PATH": f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"}
