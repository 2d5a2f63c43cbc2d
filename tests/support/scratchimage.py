"""An image of nothing but programs, made without a registry or an engine; Docker and containerd load it."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Names of this machine's architecture, as Python and as images have it."""


def archive(name: str, programs: Mapping[str, Path], into: Path) -> Path:
    """Write an image that starts the first program, with all of them in /bin.

    Args:
        name: With a registry and a tag, such as `chatcluster.local/monitoring:1`.
        programs: Static ones, by the name that they get.
        into: A folder for its files.

    Returns:
        The archive.
    """
    layer = into / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        for program, path in programs.items():
            tar.add(path, f"bin/{program}", filter=_executable)
    configuration = {
        "architecture": _MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [f"/bin/{next(iter(programs))}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
    }
    made = into / "image.tar"
    with tarfile.open(made, "w") as tar:
        _add(tar, "manifest.json", [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}])
        _add(tar, "config.json", configuration)
        tar.add(layer, "layer.tar")
    layer.unlink()
    return made


def _executable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode, member.uid, member.gid, member.uname, member.gname = 0o755, 0, 0, "", ""
    return member


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: Any) -> None:
    data = json.dumps(content).encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
