"""Make the artifacts of a release in a folder."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import engine as engines
from localcluster import images, process, programs
from localcluster.progress import LocalClusterError, Stage
from release import sbom
from release.source import CHART, CLIENT

if TYPE_CHECKING:
    from localcluster.engine import Engine
    from localcluster.paths import ClusterPaths

BUILD_SECONDS = 300

SAVE_SECONDS = 600

LIST_SECONDS = 120
"""Seconds to list an image's packages; 2 s is usual."""

SUMS = "SHA256SUMS"

COMPILED_WHEEL = "images/build/compiled-wheel"
"""Builds the wheel that the image of the chatserver has: its hot modules are compiled."""

CLIENT_PACKAGE = "chatcluster-client"
"""The Python client's name in its `pyproject.toml`."""

EXTRAS = ("server", "operator")
"""The dependencies of each process, as `uv.lock` pins them, get a bill of materials."""


def make_wheels(root: Path, target: Path, seconds: int, log: Path) -> None:
    """The wheels and source archives of the platform and of the Python client, with bills of materials.

    The platform has two wheels: one for any machine, and one with compiled modules for this Python and this kind of
    machine, which installers prefer where it fits.

    Args:
        root: the checkout.
        target: an existing folder.
        seconds: the commit's time since 1970, which all files in the archives get.
        log: the output of `uv`.

    Raises:
        LocalClusterError: `uv` or the C compiler failed.
    """
    uv = os.environ.get("UV", "uv")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(seconds)}
    for project in (root, root / CLIENT):
        build = [uv, "build", "--out-dir", str(target), str(project)]
        process.run(build, log=log, timeout_seconds=BUILD_SECONDS, cwd=root, env=environment)
    build = [str(root / COMPILED_WHEEL), uv, str(target)]
    process.run(build, log=log, timeout_seconds=BUILD_SECONDS, cwd=root, env=environment)
    (target / ".gitignore").unlink(missing_ok=True)
    (client,) = target.glob("chatcluster_client-*.whl")
    wheels = sorted(target.glob("chatcluster-*.whl"))
    bills = [(extra, target / f"{wheel.name}.{extra}.cdx.json") for wheel in wheels for extra in EXTRAS]
    client_bill = target / f"{client.name}.cdx.json"
    for extra, bill in (*bills, ("client", client_bill)):
        process.run(
            [
                *[uv, "export", "--frozen", "--no-dev", "--extra", extra],
                *["--format", "cyclonedx1.5", "--output-file", str(bill)],
            ],
            log=log,
            timeout_seconds=BUILD_SECONDS,
            cwd=root,
        )
    # uv exports projects whole: of the platform, of which the client is a dependency.
    client_bill.write_text(sbom.rooted_at(client_bill.read_text(), CLIENT_PACKAGE))


def make_chart(root: Path, target: Path, version: str, seconds: int, log: Path) -> None:
    """The chart's package and its bill.

    Raises:
        LocalClusterError: Helm cannot be had, or failed.
    """
    with Stage("chart") as stage:
        helm = programs.helm(stage, log)
        process.run(
            [helm, "package", root / CHART, "--destination", target], log=log, timeout_seconds=BUILD_SECONDS, cwd=root
        )
    names = [f"chatcluster-{part}" for part in images.TARGETS]
    bill = sbom.of_chart(Path(CHART).name, version, names, _time(seconds))
    (target / f"{Path(CHART).name}-{version}.tgz.cdx.json").write_text(bill)


def make_images(paths: ClusterPaths, target: Path, version: str, seconds: int) -> None:
    """Each image as an archive for `docker load`, and its bill.

    Raises:
        LocalClusterError: there is no engine, or a build failed.
    """
    log = paths.logs / "release-images.log"
    with Stage("images " + ", ".join(images.TARGETS)) as stage, engines.build_engine(paths, stage) as builder:
        base = images.base_image(builder, stage, log)
        for part in images.TARGETS:
            name = f"chatcluster-{part}"
            stage.detail = f"building {name}"
            images.build(builder, part, f"{name}:{version}", base, log)
            stage.detail = f"saving {name}"
            archive = target / f"{name}-{version}.tar"
            builder.docker("save", "--output", archive, f"{name}:{version}", log=log, timeout_seconds=SAVE_SECONDS)
            # `docker save` keeps it from everybody but root.
            archive.chmod(0o644)
            packages = sbom.parse(_listing(builder, f"{name}:{version}"))
            bill = sbom.of_image(name, version, packages, _time(seconds))
            (target / f"{archive.name}.cdx.json").write_text(bill)


def write_sums(target: Path) -> None:
    """A file that `sha256sum --check` reads, of all files in the folder."""
    lines = []
    for path in sorted(target.iterdir()):
        with path.open("rb") as content:
            lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {path.name}\n")
    (target / SUMS).write_text("".join(lines))


def _listing(builder: Engine, image: str) -> str:
    # As root: folders that the image's own user cannot read may contain packages too, and make `find` fail.
    isolated = ("run", "--rm", "--network", "none", "--user", "0:0", "--entrypoint", "sh")
    listing = builder.query(*isolated, image, "-c", sbom.LIST_PACKAGES, timeout_seconds=LIST_SECONDS)
    if not listing:
        raise LocalClusterError(f"the packages in {image} cannot be listed", remedy="try `docker run` with it by hand")
    return listing


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
