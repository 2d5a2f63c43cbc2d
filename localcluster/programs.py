"""kind, kubectl and Helm: installed ones that suit, else pinned release binaries, else built from their Go modules."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import releases, toolchain
from localcluster.process import output_of
from localcluster.progress import LocalClusterError, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from localcluster.progress import Stage


@dataclass(frozen=True)
class _Program:
    """A program that can come in three ways.

    Attributes:
        name: on the PATH, in `releases` and in `gomodules`.
        version_command: prints its version.
        lowest: the first minor version of an installed one that suits.
        highest: the last one.
    """

    name: str
    version_command: tuple[str, ...]
    lowest: tuple[int, int]
    highest: tuple[int, int]


_PROGRAMS = {
    program.name: program
    for program in (
        _Program("kind", ("kind", "version"), (0, 30), (0, 30)),
        _Program("kubectl", ("kubectl", "version", "--client"), (1, 33), (1, 35)),
        _Program("helm", ("helm", "version", "--template", "{{.Version}}"), (3, 14), (4, 99)),
    )
}


def kind(stage: Stage, log: Path) -> Path:
    """The program kind, of the pinned minor version: its node image contract is what the rest relies on."""
    return find_all(("kind",), stage, log)["kind"]


def helm(stage: Stage, log: Path) -> Path:
    """Helm 3.14 or newer."""
    return find_all(("helm",), stage, log)["helm"]


def kubectl(stage: Stage, log: Path) -> Path:
    """A kubectl that is within one minor version of the cluster."""
    return find_all(("kubectl",), stage, log)["kubectl"]


def in_cache(name: str) -> Path | None:
    """kind, kubectl or Helm as this project has built or downloaded it before, or None."""
    return toolchain.cached(name) or releases.cached(name)


def find_all(names: Iterable[str], stage: Stage, log: Path) -> dict[str, Path]:
    """Programs by their names: installed ones that suit, else the cache's, release binaries, or built from Go modules.

    Args:
        names: of kind, kubectl and helm. Those that must be built are built side by side.
        stage: shows what is being downloaded or built.
        log: the compiler's output.

    Raises:
        LocalClusterError: one can be had in none of these ways; the message names the download that failed.
    """
    found: dict[str, Path] = {}
    to_build: list[str] = []
    for program in (_PROGRAMS[name] for name in names):
        if (path := _found(program, stage)) is not None:
            found[program.name] = path
        else:
            to_build.append(program.name)
    built = toolchain.ensure_all(to_build, stage, log)
    return {**found, **{name: folder / name for name, folder in built.items()}}


def _found(program: _Program, stage: Stage) -> Path | None:
    """The program, or None if it cannot be downloaded but built."""
    version = releases.RELEASES[program.name].version
    if (installed := _installed(program)) is not None:
        say(f"    {program.name}: {installed}, from the PATH")
        return installed
    if (present := in_cache(program.name)) is not None:
        say(f"    {program.name}: {version}, from the cache")
        return present
    try:
        fetched = releases.fetch(program.name, stage)
    except releases.DownloadError as e:
        if shutil.which("go") is None:
            raise LocalClusterError(
                f"{e}; and `go` is not on the PATH to build it",
                remedy=f"{e.remedy or 'see above'}, or install {program.name} {version}, or Go from https://go.dev/dl/",
            ) from e
        say(f"    {e}")
        say(f"    {program.name}: {version}, built from its Go modules")
        return None
    say(f"    {program.name}: {version}, downloaded")
    return fetched


def _installed(program: _Program) -> Path | None:
    found = output_of(program.version_command, timeout_seconds=10)
    version = minor_version(found or "")
    path = shutil.which(program.name)
    return Path(path) if path and version and program.lowest <= version <= program.highest else None


def minor_version(text: str) -> tuple[int, int] | None:
    """The first version in a program's answer, without its patch level.

    Example:
        `minor_version("Client Version: v1.32.4")` is (1, 32).
    """
    match = re.search(r"v(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
