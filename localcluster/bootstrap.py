"""Make a minimal Debian file system with mmdebstrap, where no registry has one for us."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from localcluster import process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BOOTSTRAP_SECONDS = 900
"""Seconds for mmdebstrap; 20 to 30 s is usual."""

DEFAULT_MIRROR = "http://deb.debian.org/debian"

# Left out of debian:*-slim as well.
_LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "locale", "man")

# How this machine reaches its mirrors; other settings of its apt are nobody else's business.
_KEPT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-")


def bootstrap(suite: str, packages: Sequence[str], target: Path, log: Path, overlay: Path | None = None) -> None:
    """Write a minimal Debian as a tar.

    Args:
        suite: Debian's code name.
        packages: what it has beside the essential packages.
        target: the tar.
        log: mmdebstrap's output.
        overlay: a folder that is copied over it.

    Raises:
        LocalClusterError: mmdebstrap failed.
    """
    settings = target.with_name(f"{target.name}.apt.conf")
    settings.write_text(apt_settings())
    try:
        process.run(
            [
                *["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", f"--aptopt={settings}"],
                *[f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in _LEFT_OUT],
                # What is copied into the image as an apt setting would speak of this machine.
                "--customize-hook=rm -f $1/etc/apt/apt.conf.d/99mmdebstrap",
                *([f"--customize-hook=sync-in '{overlay}' /"] if overlay is not None else []),
                *[suite, str(target), *sources(suite, os.environ.get("CHATCLUSTER_DEBIAN_MIRROR", DEFAULT_MIRROR))],
            ],
            log=log,
            timeout_seconds=BOOTSTRAP_SECONDS,
            env={**os.environ, "TMPDIR": str(target.parent)},
            remedy="a Debian mirror must be reachable (CHATCLUSTER_DEBIAN_MIRROR chooses another), "
            "and debian-archive-keyring must know the release",
        )
    finally:
        settings.unlink(missing_ok=True)


def sources(suite: str, mirror: str) -> list[str]:
    """The lines of sources.list that debian:*-slim has."""
    return [
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
        f"deb {mirror.rstrip('/')}-security {suite}-security main",
    ]


def apt_settings(dump: str | None = None) -> str:
    """This machine's apt settings for reaching mirrors (proxies, retries), as an apt.conf.

    Args:
        dump: the output of `apt-config dump`; None runs the program.
    """
    text = dump if dump is not None else process.output_of(["apt-config", "dump"], timeout_seconds=10) or ""
    kept = [line for line in text.splitlines() if line.startswith(_KEPT_SETTINGS) and not line.endswith(' "";')]
    return "\n".join([*kept, 'Acquire::Languages "none";', ""])
