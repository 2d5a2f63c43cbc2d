"""HAProxy for tests: the machine's own if new enough, else the image's, unpacked into the cache, never installed."""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.debian import unpacked

OLDEST = (3, 0)
"""What the image has."""

PACKAGES = (
    *("haproxy", "libc6", "libcap2", "libcrypt1", "libgcc-s1", "libjemalloc2", "liblua5.4-0", "libopentracing1"),
    *("libopentracing-c-wrapper0t64", "libpcre2-8-0", "libssl3t64", "libstdc++6", "zlib1g", "libzstd1"),
)
"""The program and all that it links against."""


def program() -> Path:
    """HAProxy, as a program that can be started.

    Raises:
        FileNotFoundError: It is neither here nor to be had from Debian's archive.
    """
    found = shutil.which("haproxy")
    if found and _version(found) >= OLDEST:
        return Path(found)
    return unpacked("usr/sbin/haproxy", PACKAGES)


def _version(path: str) -> tuple[int, int]:
    printed = subprocess.run([path, "-v"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", printed)
    return (int(match[1]), int(match[2])) if match else (0, 0)


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


def wait_listening(port: int, log: Path, seconds: float) -> None:
    """Wait until a HAProxy on loopback takes connections.

    Raises:
        TimeoutError: It does not; the text has its log.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"HAProxy does not listen:\n{log.read_text(errors='replace')}")
