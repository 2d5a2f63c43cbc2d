"""HAProxy for tests: the machine's own, or Debian's package unpacked into the cache, never installed."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from localcluster.paths import cache_root

PACKAGES = ("haproxy", "liblua5.3-0", "liblua5.4-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0")
"""The program and the libraries beside Debian's base that its releases link against."""


def program() -> tuple[Path, dict[str, str]]:
    """HAProxy and the environment it needs.

    Raises:
        FileNotFoundError: It is neither here nor to be had from Debian's archive.
    """
    found = shutil.which("haproxy")
    if found:
        return Path(found), dict(os.environ)
    folder = cache_root() / "haproxy-deb"
    if not (folder / "usr" / "sbin" / "haproxy").exists():
        _unpack(folder)
    libraries = sorted({str(path.parent) for path in (folder / "usr" / "lib").rglob("*.so*")})
    return folder / "usr" / "sbin" / "haproxy", {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _unpack(folder: Path) -> None:
    building = folder.with_name(f"{folder.name}.building-{os.getpid()}")
    building.mkdir(parents=True)
    try:
        for package in PACKAGES:
            # Some of these exist in one Debian release only; what HAProxy really lacks shows when it starts.
            subprocess.run(
                ["apt-get", "-o", "APT::Sandbox::User=root", "download", package],
                cwd=building,
                capture_output=True,
                check=False,
            )
        for archive in building.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive.name, "."], cwd=building, check=True)
        if not (building / "usr" / "sbin" / "haproxy").exists():
            raise FileNotFoundError("no HAProxy here: install Debian's package 'haproxy', or run apt-get update")
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def running(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy with a configuration, until the end of the block; its log is beside it."""
    binary, environment = program()
    log = configuration.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(binary), "-W", "-db", "-f", str(configuration)], stdout=out, stderr=out, env=environment
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)
