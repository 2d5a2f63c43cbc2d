"""The support bundle's files and their archive: every file goes through the redaction here. Pure."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from kubectl_chatcluster import redaction, terminal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from kubectl_chatcluster.picture import Object

FILE_MODE = 0o600

NOISE = ("managedFields",)
"""Metadata that is long and says nothing about a fault."""


def pack(files: Mapping[str, str | dict[str, Any] | list[Any]], folder: str, now: dt.datetime) -> bytes:
    """Make a tar.gz of redacted files.

    Args:
        files: Contents by path: an object becomes JSON, a path that ends with `.log` is redacted line by line.
        folder: Name of the folder that everything is in.
        now: Time of all files.
    """
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=int(now.timestamp())) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for path in sorted(files):
            content = redacted(path, files[path]).encode()
            info = tarfile.TarInfo(f"{folder}/{path}")
            info.size, info.mode, info.mtime = len(content), FILE_MODE, int(now.timestamp())
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def redacted(path: str, content: str | dict[str, Any] | list[Any]) -> str:
    """A file as it goes into the bundle."""
    if not isinstance(content, str):
        return json.dumps(redaction.value(trimmed(content)), indent=2) + "\n"
    # Whoever reads a bundle does so in a terminal, too.
    return terminal.page(redaction.lines(content) if path.endswith(".log") else redaction.text(content))


def trimmed(found: Any) -> Any:
    """Without what is only noise."""
    if isinstance(found, dict):
        return {key: trimmed(inner) for key, inner in found.items() if key not in NOISE}
    return [trimmed(inner) for inner in found] if isinstance(found, list) else found


def secret_references(bodies: list[Object]) -> dict[str, list[str]]:
    """Names of the Secrets that objects speak of, with the keys they name, from those objects alone.

    Example:
        A volume with `secretName: demo-database` and item `dsn` gives {"demo-database": ["dsn"]}.
    """
    found: dict[str, set[str]] = {}

    def walk(inner: Any) -> None:
        if isinstance(inner, dict):
            if isinstance(inner.get("secretName"), str):
                keys = found.setdefault(inner["secretName"], set())
                keys.update(str(item["key"]) for item in inner.get("items") or [] if "key" in item)
            reference = inner.get("secretKeyRef")
            if isinstance(reference, dict) and "name" in reference:
                found.setdefault(str(reference["name"]), set()).add(str(reference.get("key", "")))
            for value in inner.values():
                walk(value)
        elif isinstance(inner, list):
            for value in inner:
                walk(value)

    walk(bodies)
    return {name: sorted(keys) for name, keys in sorted(found.items())}
