"""What an error of pgBackRest means for an administrator. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from postgresagent.volume import Space


class Code(StrEnum):
    """Why a command failed; the value is in `/status` and in metrics."""

    WRONG_KEY = "wrong_key"
    UNREACHABLE = "unreachable"
    FULL = "full"
    ACCESS_DENIED = "access_denied"
    TLS = "tls"
    DATABASE_UNREACHABLE = "database_unreachable"
    ARCHIVE = "archive"
    WAL_MISSING = "wal_missing"
    OTHER_DATABASE = "other_database"
    BUSY = "busy"
    SCRATCH_FULL = "scratch_full"
    NOT_RECOVERED = "not_recovered"
    NO_CHAT = "no_chat"
    DAMAGED = "damaged"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    OTHER = "other"


UNDECRYPTED = "the repository's files cannot be decrypted with the key that the repository host has"
"""Instead of pgBackRest's error, which may contain what a wrong key made of a file."""

REPOSITORY = frozenset({Code.WRONG_KEY, Code.UNREACHABLE, Code.FULL, Code.ACCESS_DENIED, Code.TLS})
"""Codes that are about the repository, and not about a database."""

_TEXTS = (
    # First what pgBackRest has no exit code of its own for.
    (Code.FULL, r"No space left on device|Disk quota exceeded|QuotaExceeded|StorageFull|InsufficientStorage|\b507\b"),
    (Code.TLS, r"certificate|private key"),
    (Code.ACCESS_DENIED, r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|\b40[13] \(|Permission denied"),
    # A wrong key makes an error or, once in some hundred times, other bytes.
    (
        Code.WRONG_KEY,
        r"unable to flush|cipher header invalid|cipher.*pass|CryptoError|unable to load info file.*FormatError",
    ),
    (Code.WRONG_KEY, r"FormatError\] unable to load info file"),
    (Code.WAL_MISSING, r"WAL segment .* (?:missing|not found)|unable to find WAL segment"),
    (Code.OTHER_DATABASE, r"stanza-upgrade|do not match the archive|does not match stanza|database system.?id"),
    (Code.ARCHIVE, r"was not archived before|archive_mode must be enabled"),
)

_EXITS = {
    44: Code.OTHER_DATABASE,
    49: Code.UNREACHABLE,
    50: Code.BUSY,
    51: Code.OTHER_DATABASE,
    56: Code.DATABASE_UNREACHABLE,
    58: Code.OTHER_DATABASE,
    82: Code.ARCHIVE,
    87: Code.ARCHIVE,
    95: Code.WRONG_KEY,
    101: Code.UNREACHABLE,
    105: Code.ACCESS_DENIED,
}
"""pgBackRest's exit codes (src/build/error/error.yaml), where they alone say what failed."""

_DATABASES = re.compile(r"raised from remote-\d+ tls protocol on|unable to find primary cluster|pg\d+-(?:host|path)")

_LINE = re.compile(r"^(?:(?:[\d-]+ [\d:.]+ )?P\d+ +)?(ERROR|WARN|INFO|DETAIL|ASSERT): (.*)$")

TEXT_MAX = 600
"""Characters of an error that are shown."""


class Problem(NamedTuple):
    """A failure: its kind, and pgBackRest's error in one line."""

    code: Code
    text: str


def problem(exit_code: int, output: str) -> Problem:
    """Return what a failed command means.

    Args:
        exit_code: pgBackRest's; below 0, the signal that ended it.
        output: What it printed.
    """
    said = _printable(text(output)) or f"pgbackrest ended with {exit_code}"
    for code, pattern in _TEXTS:
        if re.search(pattern, said):
            return Problem(code, UNDECRYPTED if code is Code.WRONG_KEY else said)
    code = _EXITS.get(exit_code, Code.OTHER)
    if code is Code.WRONG_KEY:
        return Problem(code, UNDECRYPTED)
    if code is Code.UNREACHABLE and _DATABASES.search(said):
        code = Code.DATABASE_UNREACHABLE
    return Problem(code, said)


FULL_BYTES = 64 * 1024**2
"""Free bytes of a repository's volume below which WAL may not be archived because of it: four files of WAL."""


def explained(found: Problem, space: Space | None) -> Problem:
    """Return the cause of a problem: a backup that waits for WAL does not see why it is not archived.

    Args:
        found: The problem.
        space: Of the repository's volume; None for an object store.
    """
    if found.code is Code.ARCHIVE and space is not None and space.free < FULL_BYTES:
        return Problem(Code.FULL, f"the repository's volume has {space.free} free bytes: {found.text}")
    return found


def _printable(said: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in said)


def text(output: str) -> str:
    """Return the error that pgBackRest printed, with its hints, in one line without times.

    `ERROR: [049]: unable to connect` and a line `HINT: is it there?` -> `unable to connect HINT: is it there?`.
    """
    kept: list[str] = []
    keeps = False
    for line in output.splitlines():
        found = _LINE.match(line)
        if found:
            keeps = found[1] in {"ERROR", "ASSERT"}
            words = re.sub(r"^\[\d+\]: ", "", found[2])
        else:
            words = line.strip()
        if keeps and words:
            kept.append(words)
    return " ".join(kept)[:TEXT_MAX]


_NAMES = {
    "ArchiveMismatchError": 44,
    "HostConnectError": 49,
    "BackupMismatchError": 51,
    "DbMismatchError": 58,
    "CryptoError": 95,
    "ServiceError": 101,
    "AccessError": 105,
}
"""Exit codes by the names that `pgbackrest info` has for them."""


def trouble(said: str) -> Problem:
    """Return what an error in the answer of `pgbackrest info` means: `[CryptoError] ...` -> wrong_key."""
    name = re.match(r"\[(\w+)\]", said)
    return problem(_NAMES.get(name[1], 0) if name else 0, f"ERROR: {said}")


def damaged(said: str) -> str | None:
    """Return what `pgbackrest verify --output=text` found to be wrong, in one line; None if nothing is."""
    lines = [line.strip() for line in said.splitlines()]
    status = next((line for line in lines if line.startswith("status:")), "")
    if status == "status: ok" or not status:
        return None
    kept = [line for line in lines if re.search(r"missing: [1-9]|invalid: [1-9]|other: [1-9]|invalid\b.*\berror", line)]
    return " ".join([status, *kept])[:TEXT_MAX]


def recovery(log: str) -> Problem:
    """Return why a server ended before it had replayed all WAL, from the end of its log.

    Errors of pgBackRest, which fetches the WAL, are in it too.
    """
    if "No space left on device" in log:
        return Problem(Code.FULL, "No space left on device")
    if fetched := FETCH_ERROR.findall(log):
        said, code = fetched[-1]
        return problem(int(code), said)
    words = [line.partition(level)[2].strip() for line in log.splitlines() for level in LEVELS if level in line]
    said = words[-1] if words else log[-TEXT_MAX:].strip()
    return Problem(Code.NOT_RECOVERED, f"PostgreSQL did not replay the WAL: {said}")


LEVELS = ("FATAL: ", "PANIC: ")

FETCH_ERROR = re.compile(r"^(\S* *ERROR: \[(\d+)\]: .*(?:\n {2,}.*)*)", re.MULTILINE)
"""An error of pgBackRest with its hints, and its exit code."""
