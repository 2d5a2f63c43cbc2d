"""Programs of the image's Debian release for tests: unpacked into the cache with all that they link against.

Nothing is installed, and this machine's own C library may be older than theirs.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from localcluster.bootstrap import DEFAULT_MIRROR, apt_settings, sources
from localcluster.images import BASE_SUITE
from localcluster.paths import cache_root
from tests.support.caching import building

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def unpacked(binary: str, packages: Sequence[str]) -> Path:
    """A program of Debian's archive, as one that can be started.

    Args:
        binary: Its path in the package, such as `usr/sbin/haproxy`.
        packages: The one that has it, and those of all libraries.

    Raises:
        FileNotFoundError: It is not to be had from Debian's archive.
    """
    name = Path(binary).name
    folder = cache_root() / f"{name}-{BASE_SUITE}"
    if not (folder / name).exists():
        _unpack(folder, binary, packages)
    return folder / name


def library(path: str, package: str) -> Path:
    """A library of Debian's archive, for programs of the image.

    Args:
        path: In the package, with `*` for the machine, such as `usr/lib/*/faketime/libfaketime.so.1`.
        package: The one that has it.

    Raises:
        FileNotFoundError: It is not to be had from Debian's archive.
    """
    folder = cache_root() / f"{package}-{BASE_SUITE}"
    if not folder.exists():
        with building(folder) as made:
            _download(made, [package])
    (found,) = (folder / "root").glob(path)
    return found


def _unpack(folder: Path, binary: str, packages: Sequence[str]) -> None:
    name = Path(binary).name
    with building(folder) as made:
        _download(made, packages)
        (loader,) = (made / "root" / "usr" / "lib").glob("*-linux-gnu*/ld-linux*")
        library = folder / loader.parent.relative_to(made)
        # Under its own name: when HAProxy is reloaded, its master process executes itself again.
        (made / name).write_text(
            f'#!/bin/sh\nexec {library}/{loader.name} --library-path {library} --argv0 "$0" '
            f'{folder}/root/{binary} "$@"\n'
        )
        (made / name).chmod(0o755)


def _download(folder: Path, packages: Sequence[str]) -> None:
    """Unpack packages into the folder `root`."""
    mirror = os.environ.get("CHATCLUSTER_DEBIAN_MIRROR", DEFAULT_MIRROR)
    (folder / "lists" / "partial").mkdir(parents=True)
    lines = [line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in sources(BASE_SUITE, mirror)]
    (folder / "sources.list").write_text("\n".join(lines) + "\n")
    settings = {
        "APT::Sandbox::User": "root",
        "Dir::Etc::SourceList": f"{folder}/sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": f"{folder}/lists",
        "Dir::Cache": str(folder),
    }
    written = [f'{key} "{value}";' for key, value in settings.items()]
    (folder / "apt.conf").write_text("\n".join([apt_settings(), *written, ""]))
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    for command in (["update", "-qq"], ["download", "-qq", *packages]):
        done = subprocess.run(
            ["apt-get", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise FileNotFoundError(f"no {' '.join(packages)} from {mirror}: {done.stderr[-500:]}")
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive.name, "root"], cwd=folder, check=True)
        archive.unlink()
    shutil.rmtree(folder / "lists")
