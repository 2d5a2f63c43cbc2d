"""The operator's part of postgresql.conf on its way from the ConfigMap into the server: checked before it counts.

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
"""In the place of its words, where it left none."""

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
    """

    candidate: Path
    base: Path
    accepted: Path
    full: Path
    refused: Path
    data: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        revision: The operator's word for it.
        refused: PostgreSQL's words against it; None where it counts.
    """

    revision: str
    refused: str | None


def take(places: Places, server: Server) -> Outcome | None:
    """Check the candidate, and put it in the place of what the server reads; None where there is none.

    The server has still to be told: pg_reload_conf().

    Raises:
        ServerError: PostgreSQL could not be asked.
        OSError: The volume takes no file.
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
    """What PostgreSQL says against a configuration, in one line without files and times.

    `2026-11-25 15:00:00 UTC [7] LOG:  unrecognized configuration parameter "a" in file "/x" line 3` and the summary
    that follows -> `unrecognized configuration parameter "a"`.
    """
    said = [(level, _PLACE.sub("", text).strip()) for level, text in _WORDS.findall(output)]
    telling = [(level, text) for level, text in said if not _IDLE.match(text)]
    # Where a start failed, what it logged before is no reason; a wrong line is a LOG before the FATAL summary.
    reasons = [text for level, text in telling if level != "LOG"] or [text for _, text in telling]
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
    """The check cannot know everything, such as whether there is so much memory: the entrypoint has tried it."""
    first, _, rest = (read(path) or "").partition("\n")
    return (words(rest) or KILLED) if first == revision else None


def read(path: Path) -> str | None:
    """A file's text; None where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else None


def replace(path: Path, text: str) -> None:
    """Whole or not at all: the server may start at any moment."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
