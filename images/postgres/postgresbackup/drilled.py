"""What a restore drill found, how the repository remembers it, and with which configuration it reads. Pure."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postgresbackup.repository import STANZA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgresbackup.repository import Repository

ANNOTATION = "drill"
"""Annotation of backups: the last drill. Each new backup takes it over, so that it outlives the one that was tried."""

REMEMBERED_MAX = 300
"""Characters of an error that the repository remembers."""


@dataclass(frozen=True)
class Content:
    """What is in a restored database.

    Attributes:
        users, chats, messages: How many; chats without those that each user has alone.
        newest_message: When the newest message was stored; None without any.
        restored_to: Time of the last commit that was replayed; None if there was none after the backup.
    """

    users: int
    chats: int
    messages: int
    newest_message: dt.datetime | None
    restored_to: dt.datetime | None


@dataclass(frozen=True)
class Drilled:
    """The last drill.

    Attributes:
        at: When it ended.
        seconds: How long it took.
        backup: Label of the backup that was restored; empty if there was none.
        tries: How many drills have failed one after the other, with this one; 0 if it succeeded.
        request: Id of the last request that a drill has answered, well or not; empty if there was none.
        good_at: When a drill succeeded last; None if none has.
        code, text: Why it failed; empty if it succeeded.
        content: What was found; None if it failed before that.
    """

    at: dt.datetime
    seconds: float
    backup: str
    tries: int
    request: str
    good_at: dt.datetime | None
    code: str = ""
    text: str = ""
    content: Content | None = None

    @property
    def ok(self) -> bool:
        """Whether the database could be restored and was whole."""
        return not self.code


@dataclass(frozen=True)
class Begun:
    """A drill that has begun.

    Attributes:
        at: When.
        tries: The number of this try, from 1.
        request: Id of the request that it answers; empty for none.
    """

    at: dt.datetime
    tries: int
    request: str


def written(drilled: Drilled) -> str:
    """Return a drill as one line of JSON, as the repository remembers it."""
    content = drilled.content
    found = content and {
        "users": content.users,
        "chats": content.chats,
        "messages": content.messages,
        "newest_message": _written(content.newest_message),
        "restored_to": _written(content.restored_to),
    }
    whole = {
        "at": _written(drilled.at),
        "seconds": round(drilled.seconds, 1),
        "backup": drilled.backup,
        "tries": drilled.tries,
        "request": drilled.request,
        "good_at": _written(drilled.good_at),
        "code": drilled.code,
        "text": drilled.text[:REMEMBERED_MAX],
        "content": found,
    }
    return json.dumps(whole, separators=(",", ":"))


def read(text: str) -> Drilled | None:
    """Return the drill in such a line; None if it is something else."""
    try:
        raw = json.loads(text)
        return Drilled(
            at=dt.datetime.fromisoformat(raw["at"]),
            seconds=float(raw["seconds"]),
            backup=str(raw["backup"]),
            tries=int(raw["tries"]),
            request=str(raw["request"]),
            good_at=_time(raw["good_at"]),
            code=str(raw["code"]),
            text=str(raw["text"]),
            content=_content(raw["content"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _content(raw: Any) -> Content | None:
    if raw is None:
        return None
    return Content(
        users=int(raw["users"]),
        chats=int(raw["chats"]),
        messages=int(raw["messages"]),
        newest_message=_time(raw["newest_message"]),
        restored_to=_time(raw["restored_to"]),
    )


def begun_written(begun: Begun) -> str:
    """Return the beginning of a drill as JSON, as the scratch volume remembers it."""
    return json.dumps({"at": _written(begun.at), "tries": begun.tries, "request": begun.request})


def begun_read(text: str, now: dt.datetime) -> Begun:
    """Return the beginning of a drill; what cannot be read was written by a first try that was interrupted."""
    try:
        raw = json.loads(text)
        return Begun(dt.datetime.fromisoformat(raw["at"]), int(raw["tries"]), str(raw["request"]))
    except (ValueError, KeyError, TypeError):
        return Begun(now, 1, "")


def remembered(found: Repository) -> Drilled | None:
    """Return the last drill that the backups of a repository remember; None if none does."""
    drills = filter(None, (read(one.annotations.get(ANNOTATION, "")) for one in found.backups))
    return max(drills, key=lambda one: one.at, default=None)


def configuration(host: str, data: str) -> str:
    """Return pgbackrest.conf of a drill: the same repository, and a database in a folder of this container.

    Args:
        host: pgbackrest.conf of the repository host.
        data: The folder.
    """
    return "\n".join([*_repository(host), f"[{STANZA}]", f"pg1-path={data}", ""])


def _repository(host: str) -> Iterator[str]:
    """Return the lines that do not concern instances of PostgreSQL, which are on other hosts."""
    section = ""
    for line in host.splitlines():
        section = line if line.startswith("[") else section
        if section == "[global]" and not line.startswith("tls-server"):
            yield line


def _written(time: dt.datetime | None) -> str | None:
    return None if time is None else time.astimezone(dt.UTC).isoformat()


def _time(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)
