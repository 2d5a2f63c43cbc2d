# ruff: noqa: INP001 - run as a script
"""Builds the web page for the image: names with a hash of the content below `assets/`, and copies compressed by gzip.

    images/build/page.py SOURCE TARGET

A file names another one as `"/name"`. `index.html` keeps its name and is never cached; all others can be, for ever.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ENTRY = "index.html"
FOLDER = "assets"
HASH_DIGITS = 12
TEXTS = {".css", ".html", ".js", ".svg"}
"""Suffixes of files that may name other files."""


def build(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files by their new names, in which they name each other by their new names.

    Raises:
        graphlib.CycleError: files name each other in a circle, so that no hash can be first.

    Example:
        >>> sorted(build({"index.html": b'<script src="/app.js">', "app.js": b"1"}))
        ['assets/app.6b86b273ff34.js', 'index.html']
    """
    known = re.compile("|".join(rf"(?<=[\"'(])/{re.escape(name)}(?=[\"')])" for name in sorted(files)))
    named = {
        name: {found[1:] for found in known.findall(content.decode())} if Path(name).suffix in TEXTS else set()
        for name, content in files.items()
    }
    addresses: dict[str, str] = {}
    built: dict[str, bytes] = {}
    for name in TopologicalSorter(named).static_order():
        content = files[name]
        if named[name]:
            content = known.sub(lambda found: addresses[found[0][1:]], content.decode()).encode()
        made = name if name == ENTRY else f"{FOLDER}/{_hashed(name, content)}"
        addresses[name] = f"/{made}"
        built[made] = content
    return built


def _hashed(name: str, content: bytes) -> str:
    path = Path(name)
    digest = hashlib.sha256(content).hexdigest()[:HASH_DIGITS]
    return path.with_name(f"{path.stem}.{digest}{path.suffix}").as_posix()


def main() -> None:
    """Build a folder from another one."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    for name, content in build(files).items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
