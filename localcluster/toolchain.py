"""Build the pinned Kubernetes programs from their Go modules, once, into the cache."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import binaries, gomodules
from localcluster.gomodules import GO_MODULES, PROGRAMS
from localcluster.process import output_of, run
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from localcluster.progress import Stage

BUILD_TIMEOUT_SECONDS = 3600
"""Seconds for one module with empty caches; the programs of a cluster take ten minutes on two cores."""

GOGC = "400"
"""Percent by which the compiler's heap may grow before it collects garbage, unless the user has set it: with Go's own
100 the largest package, k8s.io/api/core/v1, took a third more CPU time (13.1 s, and 9.9 s with 400). The size of the
largest process hardly changes: it is the linker, with the files that it maps (1.4 GB)."""

_LISTED = 3
"""Programs that one line names."""

_REMEDY_GO = "install Go from https://go.dev/dl/ and run `make up` again"


def ensure(name: str, stage: Stage, log: Path) -> Path:
    """The folder with a program or CustomResourceDefinitions; see `ensure_all`."""
    return ensure_all((name,), stage, log)[name]


def ensure_all(names: Iterable[str], stage: Stage, log: Path) -> dict[str, Path]:
    """The folder of each program, by its name; those that the cache lacks are built, those of one module side by side.

    Args:
        names: keys of `gomodules.PROGRAMS`. A folder contains the program under this name, or `crds`.
        stage: shows what is being built.
        log: where the compiler's output goes.

    Raises:
        LocalClusterError: Go is missing or a build failed.
    """
    folders = {name: _target(name) for name in names}
    if lacking := _lacking(folders):
        if shutil.which("go") is None:
            raise LocalClusterError(
                f"{', '.join(lacking)} must be built and `go` is not on the PATH", remedy=_REMEDY_GO
            )
        with binaries.changing(stage):
            # Another command may have built them while this one waited.
            for programs in gomodules.batches(_lacking(folders)):
                stage.detail = f"building {_listed(programs)} from Go modules"
                _build(programs, log)
    return folders


def cached(name: str) -> Path | None:
    """A program that was built before, or None."""
    path = _target(name) / name
    return path if path.exists() else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _LISTED else f"{names[0]} and {len(names) - 1} other programs"


def _lacking(folders: dict[str, Path]) -> list[str]:
    return [name for name, folder in folders.items() if not folder.is_dir()]


def _target(name: str) -> Path:
    return binaries.folder() / f"{name}-{gomodules.fingerprint(name)}"


def _build(names: Sequence[str], log: Path) -> None:
    module = PROGRAMS[names[0]].module
    with contextlib.ExitStack() as stack:
        folders = {
            name: stack.enter_context(binaries.making(_target(name), rf"{re.escape(name)}-[0-9a-f]{{12}}"))
            for name in names
        }
        programs = {name: PROGRAMS[name] for name in names if PROGRAMS[name].package}
        if programs:
            built = folders[names[0]] / "built"
            built.mkdir()
            run(
                ["go", "install", *gomodules.build_flags(module), *(program.package for program in programs.values())],
                log=log,
                timeout_seconds=BUILD_TIMEOUT_SECONDS,
                cwd=GO_MODULES / module,
                env={"GOGC": GOGC, **os.environ, "GOBIN": str(built), "CGO_ENABLED": "0", "GOWORK": "off"},
                remedy="the Go module proxy must be reachable the first time; see the log",
            )
            for name, program in programs.items():
                (built / program.binary).rename(folders[name] / name)
            built.rmdir()
        for name in names:
            if (source := PROGRAMS[name].crds) is not None:
                _copy_crds(module, *source, folders[name] / "crds")


def _copy_crds(module: str, source: str, folder: str, into: Path) -> None:
    command = ["go", "mod", "download", "-json", source]
    said = output_of(command, timeout_seconds=BUILD_TIMEOUT_SECONDS, cwd=GO_MODULES / module)
    if said is None:
        raise LocalClusterError(f"{source} cannot be had", remedy=f"run {' '.join(command)} in {GO_MODULES / module}")
    into.mkdir()
    for file in (Path(json.loads(said)["Dir"]) / folder).glob("*.yaml"):
        # Without its mode: Go's own copy is read-only.
        shutil.copyfile(file, into / file.name)
