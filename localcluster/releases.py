"""Release binaries of kind, kubectl and Helm: downloaded from their public addresses, checked by pinned checksums."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import tarfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

from localcluster import binaries
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from localcluster.progress import Stage

MIRROR_VARIABLE = "CHATCLUSTER_DOWNLOAD_MIRROR"
"""Environment: a URL below which the downloads lie, by host and path."""

STALL_SECONDS = 30
"""Seconds without a byte after which a server counts as unreachable."""

DOWNLOAD_SECONDS = 900
"""Seconds for one program; 60 MB at 0.5 Mbit/s."""

MAX_BYTES = 256 << 20
"""The largest of them, kubectl, has 60 MB."""

_CHUNK_BYTES = 1 << 18

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class DownloadError(LocalClusterError):
    """A release binary could not be downloaded, or is not the one that was pinned."""


@dataclass(frozen=True)
class Release:
    """A program as its project publishes it.

    Attributes:
        version: with its `v`.
        url: of the file; `{platform}` is for instance `linux-amd64`, and `{os}` and `{arch}` its halves.
        member: the program's path in the file if that is a tar.gz; else the file is the program.
        sha256: of the file, by platform, as published beside it.
    """

    version: str
    url: str
    sha256: Mapping[str, str]
    member: str = ""


RELEASES: Mapping[str, Release] = {
    "kind": Release(
        version="v0.30.0",
        url="https://github.com/kubernetes-sigs/kind/releases/download/v0.30.0/kind-{platform}",
        sha256={
            "linux-amd64": "517ab7fc89ddeed5fa65abf71530d90648d9638ef0c4cde22c2c11f8097b8889",
            "linux-arm64": "7ea2de9d2d190022ed4a8a4e3ac0636c8a455e460b9a13ccf19f15d07f4f00eb",
        },
    ),
    "kubectl": Release(
        version="v1.34.4",
        url="https://dl.k8s.io/release/v1.34.4/bin/{os}/{arch}/kubectl",
        sha256={
            "linux-amd64": "d50c359d95e0841eaad08ddc27c7be37cba8fdccfba5c8e2ded65e121ff112db",
            "linux-arm64": "5b982c0644ab1e27780246b9085a5886651b4a7ed86243acbb2bacc1bea01dda",
        },
    ),
    "helm": Release(
        version="v3.19.5",
        url="https://get.helm.sh/helm-v3.19.5-{platform}.tar.gz",
        sha256={
            "linux-amd64": "a0a5e8c592ed3f376ac110715eff214730c7422f9a44d96cf98117d2b8b0e6c0",
            "linux-arm64": "ce02147ffee6d993bf8ae97a44a22e9e1daf0b69d2d5b69a0c8cf6706445ccf5",
        },
        member="{platform}/helm",
    ),
}


def cached(name: str) -> Path | None:
    """A program that was downloaded before, or None."""
    path = _target(name) / name
    return path if path.exists() else None


def fetch(name: str, stage: Stage) -> Path:
    """The program, downloaded if the cache lacks it.

    Args:
        name: a key of `RELEASES`.
        stage: shows how far the download is.

    Raises:
        DownloadError: the address cannot be reached, or answers with something else than the pinned file.
    """
    with binaries.changing(stage):
        if (found := cached(name)) is not None:
            return found
        release, where = RELEASES[name], _platform()
        content = _download(address(release, where), f"{name} {release.version}", stage)
        digest = hashlib.sha256(content).hexdigest()
        if digest != release.sha256[where]:
            raise DownloadError(
                f"{address(release, where)} is not {name} {release.version}: its SHA-256 is {digest}, "
                f"not {release.sha256[where]}",
                remedy="a proxy may have answered in its place: look at what it sends",
            )
        program = _program(content, release, where)
        with binaries.making(_target(name), rf"{re.escape(name)}-v\d.*") as made:
            (made / name).write_bytes(program)
            (made / name).chmod(0o755)
    return _target(name) / name


def address(release: Release, where: str) -> str:
    """Where a release's file lies.

    Example:
        With CHATCLUSTER_DOWNLOAD_MIRROR=https://mirror.example.com/files, kubectl is at
        `https://mirror.example.com/files/dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubectl`.

    Raises:
        DownloadError: there is no pinned file for this platform.
    """
    if where not in release.sha256:
        raise DownloadError(f"no release binary is pinned for {where}: only for {', '.join(release.sha256)}")
    system, _, machine = where.partition("-")
    url = release.url.format(platform=where, os=system, arch=machine)
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    return f"{mirror}/{url.removeprefix('https://')}" if mirror else url


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"


def _download(url: str, what: str, stage: Stage) -> bytes:
    """The file's content, by way of the proxies that the usual variables name."""
    until = time.monotonic() + DOWNLOAD_SECONDS
    content = bytearray()
    try:
        # Not urlopen(): it keeps the proxies that the variables named when it was first called.
        with urllib.request.build_opener().open(url, timeout=STALL_SECONDS) as answer:
            expected = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(_CHUNK_BYTES):
                content += chunk
                stage.detail = f"downloading {what}: {len(content) >> 20} of {expected >> 20} MiB"
                if len(content) > MAX_BYTES or time.monotonic() > until:
                    raise DownloadError(
                        f"{url} took more than {DOWNLOAD_SECONDS} s or has more than {MAX_BYTES >> 20} MiB"
                    )
    except (OSError, ValueError, HTTPException) as e:
        if isinstance(e, urllib.error.HTTPError):
            e.close()
        raise DownloadError(
            f"{what} cannot be downloaded from {url}: {e}",
            remedy=f"allow this machine to reach that address (HTTPS_PROXY and {MIRROR_VARIABLE} are followed)",
        ) from e
    if len(content) < expected:
        raise DownloadError(f"{url} broke off after {len(content)} of {expected} bytes", remedy="run the command again")
    return bytes(content)


def _program(content: bytes, release: Release, where: str) -> bytes:
    if not release.member:
        return content
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        member = archive.extractfile(release.member.format(platform=where))
        if member is None:
            raise DownloadError(f"{release.member} in the archive is no file")
        return member.read()


def _target(name: str) -> Path:
    return binaries.folder() / f"{name}-{RELEASES[name].version}"
