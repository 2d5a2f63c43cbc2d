"""What this machine can do, and what has to be installed on it first."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster.bootstrap import apt_settings
from localcluster.process import run
from localcluster.progress import LocalClusterError, say
from localcluster.runtime import TRUST_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CAP_SYS_RESOURCE = 24

_INSTALLING = threading.Lock()

APT_TIMEOUT_SECONDS = 600
"""Seconds for one apt-get; a slow mirror took two minutes for docker.io."""

_PROGRAM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"

# The machine's own certificates, in the order in which distributions have them.
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")

ENGINE_PACKAGES: Mapping[str, str] = {
    "dockerd": "docker.io",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
}
"""Program -> Debian package: what a private engine needs."""

BOOTSTRAP_PACKAGES: Mapping[str, str] = {"mmdebstrap": "mmdebstrap"}
"""Program -> Debian package: what making a base image without a registry needs."""


def lacks_sys_resource(status: str | None = None) -> bool:
    """Whether root on this machine is without CAP_SYS_RESOURCE, so that `--privileged` fails."""
    text = status if status is not None else Path("/proc/self/status").read_text()
    mask = next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapBnd:"))
    return not mask >> CAP_SYS_RESOURCE & 1


def require_programs(packages: Mapping[str, str], *, log: Path, why: str) -> None:
    """Install the packages of those programs that are missing.

    Raises:
        LocalClusterError: no root, no apt-get, or apt-get failed; the remedy names the packages.
    """
    # The images and the node image are built beside each other.
    with _INSTALLING:
        missing = sorted({package for program, package in packages.items() if find_program(program) is None})
        if missing:
            _install(missing, log, why)


def _install(missing: Sequence[str], log: Path, why: str) -> None:
    names = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LocalClusterError(
            f"{why} needs: {names}",
            remedy=f"install them ({names}), or start a Docker Engine that `docker info` reaches and try again",
        )
    say(f"    installing {names} with apt-get, the first time only")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    remedy = f"run `apt-get install {names}` yourself"
    apt = ["apt-get", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]
    run([*apt, "update"], log=log, timeout_seconds=APT_TIMEOUT_SECONDS, env=environment, remedy=remedy)
    with _no_service_starts():
        run(
            [*apt, "install", "-y", "--no-install-recommends", *missing],
            log=log,
            timeout_seconds=APT_TIMEOUT_SECONDS,
            env=environment,
            remedy=remedy,
        )


def find_program(name: str) -> str | None:
    """The program's path, looked for in the sbin folders too."""
    return shutil.which(name, path=_PROGRAM_PATH)


def require_root(why: str) -> None:
    """Raise a `LocalClusterError` unless this is root."""
    if os.geteuid() != 0:
        raise LocalClusterError(
            f"{why}, which needs root",
            remedy="start a Docker Engine that `docker info` reaches, or run `sudo make up`",
        )


def trust_folder(target: Path) -> Path | None:
    """Copy the machine's certificates and pip settings to a folder for build steps; None if it has no certificates."""
    bundle = next(
        (Path(path) for path in (os.environ.get("SSL_CERT_FILE", ""), *_CA_BUNDLES) if path and Path(path).is_file()),
        None,
    )
    if bundle is None:
        return None
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle, target / "ca.crt")
    pip = Path("/etc/pip.conf")
    if pip.is_file():
        shutil.copyfile(pip, target / "pip.conf")
    else:
        (target / "pip.conf").unlink(missing_ok=True)
    (target / "apt.conf").write_text(apt_settings() + f'Acquire::https::CAInfo "{TRUST_TARGET}/ca.crt";\n')
    return target


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep Debian's packages from starting what they install: the engine here is a private one."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
