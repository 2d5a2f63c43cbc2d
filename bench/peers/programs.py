"""The peers' programs: unpacked Debian packages, and Synapse in a venv, all in the cache. Nothing is installed.

Unpacking needs no root and starts no service, and `make purge` removes the files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from localcluster.paths import cache_root

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = ("ejabberd", "erlang-p1-pgsql", "prosody", "lua-dbi-postgresql")

PYTHON = ("matrix-synapse==1.163.0", "psycopg2-binary==2.9.13")
"""psycopg2-binary: with PostgreSQL's library in it, so that no compiler is needed."""

VENV = f"synapse-python{sys.version_info.major}.{sys.version_info.minor}"
"""Its folder: Synapse runs on the interpreter that our servers run on, so that another one needs another venv."""

DOWNLOAD_SECONDS = 600

# Taken from the archive even where the machine has them installed, so that one tree has all of Erlang and of Lua.
_OWN_TREE = re.compile(r"(ejabberd|prosody|erlang-|lua)")


class NotHereError(Exception):
    """A peer's programs cannot be downloaded on this machine; the text says why."""


def debian_root() -> Path:
    """Return the folder that holds the unpacked packages.

    Raises:
        NotHereError: they are not there; `fetch` gets them.
    """
    root = _folder() / "debian"
    if not root.exists():
        raise NotHereError("its Debian packages are not in the cache: run `python -m bench --fetch`")
    return root


def synapse_python() -> Path:
    """Return the Python of the venv that holds Synapse.

    Raises:
        NotHereError: it is not there; `fetch` gets it.
    """
    python = _folder() / VENV / "bin" / "python"
    if not python.exists():
        raise NotHereError("its venv is not in the cache: run `python -m bench --fetch`")
    return python


def missing() -> list[str]:
    """Return what `fetch` would download."""
    needed = {"debian": ", ".join(DEBIAN), VENV: ", ".join(PYTHON)}
    return [what for folder, what in needed.items() if not (_folder() / folder).exists()]


def fetch() -> list[str]:
    """Download the missing programs; returns the failures, each with its reason."""
    _folder().mkdir(parents=True, exist_ok=True)
    failed = []
    for name, make in (("debian", _unpack_debian), (VENV, _make_venv)):
        final, building = _folder() / name, _folder() / f"{name}.building-{os.getpid()}"
        if final.exists():
            continue
        try:
            make(building)
            building.rename(final)
        except (OSError, subprocess.SubprocessError) as error:
            failed.append(f"{name}: {_reason(error)}")
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return failed


def _folder() -> Path:
    return cache_root() / "bench"


def _unpack_debian(folder: Path) -> None:
    here = _listed("apt-get", "install", "-s", "--no-install-recommends", *DEBIAN)
    everything = _listed(
        "apt-get", "install", "-s", "--no-install-recommends", "-o", "Dir::State::status=/dev/null", *DEBIAN
    )
    packages = sorted({*here, *DEBIAN, *filter(_OWN_TREE.match, everything)})
    archives = folder / "archives"
    archives.mkdir(parents=True)
    _run("apt-get", "-o", "APT::Sandbox::User=root", "download", *packages, cwd=archives)
    for archive in sorted(archives.glob("*.deb")):
        _run("dpkg-deb", "-x", str(archive), str(folder), cwd=folder)
    shutil.rmtree(archives)


def _listed(*command: str) -> list[str]:
    return re.findall(r"^Inst (\S+)", _run(*command, cwd=_folder()), re.MULTILINE)


def _make_venv(folder: Path) -> None:
    uv = shutil.which("uv") or str(cache_root() / "uv" / "bin" / "uv")
    # Scripts of a venv name its folder; only its Python is used here, which finds itself wherever it is moved to.
    _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder), cwd=_folder())
    _run(uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *PYTHON, cwd=_folder())


def _run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=True).stdout


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        return str(error.stderr).strip().splitlines()[-1]
    return str(error)
