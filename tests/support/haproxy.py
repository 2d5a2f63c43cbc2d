"""HAProxy for tests: the machine's own if new enough, else the image's, unpacked into the cache, never installed."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from localcluster.bootstrap import DEFAULT_MIRROR, apt_settings, sources
from localcluster.images import BASE_SUITE
from localcluster.paths import cache_root

OLDEST = (3, 0)
"""What the image has."""

PACKAGES = (
    *("haproxy", "libc6", "libcap2", "libcrypt1", "libgcc-s1", "libjemalloc2", "liblua5.4-0", "libopentracing1"),
    *("libopentracing-c-wrapper0t64", "libpcre2-8-0", "libssl3t64", "libstdc++6", "zlib1g", "libzstd1"),
)
"""The program and all that it links against: this machine's C library may be older than the image's."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def program() -> Path:
    """HAProxy, as a program that can be started.

    Raises:
        FileNotFoundError: It is neither here nor to be had from Debian's archive.
    """
    found = shutil.which("haproxy")
    if found and _version(found) >= OLDEST:
        return Path(found)
    folder = cache_root() / f"haproxy-{BASE_SUITE}"
    if not (folder / "haproxy").exists():
        _unpack(folder)
    return folder / "haproxy"


def _version(path: str) -> tuple[int, int]:
    printed = subprocess.run([path, "-v"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", printed)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _unpack(folder: Path) -> None:
    building = folder.with_name(f"{folder.name}.building-{os.getpid()}")
    (building / "lists" / "partial").mkdir(parents=True)
    try:
        mirror = os.environ.get("CHATCLUSTER_DEBIAN_MIRROR", DEFAULT_MIRROR)
        lines = [line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in sources(BASE_SUITE, mirror)]
        (building / "sources.list").write_text("\n".join(lines) + "\n")
        settings = {
            "APT::Sandbox::User": "root",
            "Dir::Etc::SourceList": f"{building}/sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": f"{building}/lists",
            "Dir::Cache": str(building),
        }
        written = [f'{name} "{value}";' for name, value in settings.items()]
        (building / "apt.conf").write_text("\n".join([apt_settings(), *written, ""]))
        environment = {**os.environ, "APT_CONFIG": str(building / "apt.conf")}
        for command in (["update", "-qq"], ["download", "-qq", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", *command], cwd=building, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise FileNotFoundError(f"no HAProxy {OLDEST} here, and none from {mirror}: {done.stderr[-500:]}")
        for archive in building.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive.name, "root"], cwd=building, check=True)
            archive.unlink()
        shutil.rmtree(building / "lists")
        (loader,) = (building / "root" / "usr" / "lib").glob("*-linux-gnu*/ld-linux*")
        library = folder / loader.parent.relative_to(building)
        # As its own name: a master that is told to reload starts itself again.
        (building / "haproxy").write_text(
            f'#!/bin/sh\nexec {library}/{loader.name} --library-path {library} --argv0 "$0" '
            f'{folder}/root/usr/sbin/haproxy "$@"\n'
        )
        (building / "haproxy").chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def running(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy with a configuration, until the end of the block; its log is beside it."""
    log = configuration.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen([str(program()), "-W", "-db", "-f", str(configuration)], stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)
