"""Moves the operator's part of postgresql.conf from the ConfigMap to the server, after a check.

The server never reads the ConfigMap itself: a wrong line there would keep it from starting. It reads a file on the
volume, which is replaced only by what PostgreSQL has found to be right.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postgresagent.server import Server

FILE, REVISION_KEY = "postgresql.conf", "revision"

_WORDS = re.compile(r"^(?:.*?(LOG|ERROR|FATAL|PANIC|DETAIL|HINT): +|postgres: )(.*)$", re.MULTILINE)
_PLACE = re.compile(r' in file "[^"]*" line \d+')
KILLED = "PostgreSQL was killed while it started, as for more memory than the container may have"
"""The error of a server that was killed and logged none."""

_IDLE = re.compile(r"configuration file .* contains errors|skipping missing configuration file")


@dataclass(frozen=True)
class Places:
    """Files and folders of the image.

    Attributes:
        candidate: Folder where the ConfigMap is mounted.
        base: The image's configuration, which includes `accepted`.
        accepted: What the server reads.
        full: What the server reads after it, and lets win: that writes are refused, or nothing.
        refused: Where the entrypoint leaves the revision and the words of what the server did not start with.
        data: PGDATA.
        proven: What the server started with last.
    """

    candidate: Path
    base: Path
    accepted: Path
    full: Path
    refused: Path
    data: Path
    proven: Path


@dataclass(frozen=True)
class Outcome:
    """The result of a candidate.

    Attributes:
        revision: The operator's revision of it.
        refused: PostgreSQL's error about it; None if it is accepted.
    """

    revision: str
    refused: str | None


def take(places: Places, server: Server) -> Outcome | None:
    """Check the candidate, and let it replace the file that the server reads; None if there is no candidate.

    The caller must make the server read it: pg_reload_conf().

    Raises:
        ServerError: PostgreSQL could not check it.
        OSError: The file cannot be written to the volume.
    """
    try:
        text = (places.candidate / FILE).read_text(encoding="utf-8")
        revision = (places.candidate / REVISION_KEY).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    refused = _refused_at_start(places.refused, revision) or _check(text, places, server)
    if refused is None and read(places.accepted) != text:
        replace(places.accepted, text)
    return Outcome(revision, refused)


def words(output: str) -> str:
    """Return PostgreSQL's error about a configuration, in one line without files and times.

    `2026-11-25 15:00:00 UTC [7] LOG:  unrecognized configuration parameter "a" in file "/x" line 3` and the summary
    that follows -> `unrecognized configuration parameter "a"`.
    """
    said = [(level, _PLACE.sub("", text).strip()) for level, text in _WORDS.findall(output)]
    reasons_logged = [(level, text) for level, text in said if not _IDLE.match(text)]
    # After a failed start, earlier log lines are not the reason; a wrong line is a LOG before the FATAL summary.
    reasons = [text for level, text in reasons_logged if level != "LOG"] or [text for _, text in reasons_logged]
    return "; ".join(reasons) or output.strip()


def _check(text: str, places: Places, server: Server) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        candidate, config = Path(folder) / "candidate.conf", Path(folder) / FILE
        candidate.write_text(text, encoding="utf-8")
        base = places.base.read_text(encoding="utf-8")
        config.write_text(base.replace(str(places.accepted), str(candidate)), encoding="utf-8")
        said = server.check_configuration(config, places.data)
    return None if said is None else words(said)


def _refused_at_start(path: Path, revision: str) -> str | None:
    """Return the error of a start by the entrypoint: the check cannot find all errors, such as too much memory."""
    first, _, rest = (read(path) or "").partition("\n")
    return (words(rest) or KILLED) if first == revision else None


def read(path: Path) -> str | None:
    """Return the text of a file; None if it does not exist."""
    return path.read_text(encoding="utf-8") if path.is_file() else None


def replace(path: Path, text: str) -> None:
    """Replace a file atomically: the server may start at any moment."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
