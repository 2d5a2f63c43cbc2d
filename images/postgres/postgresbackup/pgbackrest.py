"""Runs pgBackRest. Its secrets are in the environment, where they came from, and never in arguments or logs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from postgresbackup import problems, repository
from postgresbackup.repository import STANZA, Archive, Repository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from postgresbackup.problems import Problem

READ_SECONDS = 60.0
"""Longest run of a command that only reads lists."""

IO_TIMEOUT = "--io-timeout=5"
"""Option of the same commands: for how many seconds a connection to a store is tried. `info` tries nine times."""

WORK_SECONDS = 24 * 3600.0
"""Longest run of any other: a full backup of a terabyte over a slow network ends within it."""

ARCHIVES = f"archive/{STANZA}"


SIGNATURE = "AZURE_SAS_TOKEN"
"""Variable of a container that restores, where Azure's key is a shared access signature."""

KEY, KEY_TYPE = "PGBACKREST_REPO1_AZURE_KEY", "PGBACKREST_REPO1_AZURE_KEY_TYPE"


def with_signature(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment in which pgBackRest finds a signature as its key; the same where there is none."""
    signature = environment.get(SIGNATURE)
    return {**environment, KEY: signature, KEY_TYPE: "sas"} if signature else environment


class PgBackRestError(Exception):
    """A command failed.

    Attributes:
        problem: What that means.
    """

    def __init__(self, found: Problem) -> None:
        super().__init__(found.text)
        self.problem = found


class PgBackRest:
    """pgBackRest's commands with one configuration.

    Args:
        config: Its file.
        environment: For its processes.
    """

    def __init__(self, config: Path, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment
        self._running: subprocess.Popen[bytes] | None = None
        # A timeline's history does not change.
        self._histories: dict[str, str] = {}

    def repository(self) -> Repository:
        """Return what is in the repository.

        Raises:
            PgBackRestError: It cannot be read.
        """
        info = self._json("info", "--output=json")
        if said := repository.trouble(info):
            raise PgBackRestError(problems.trouble(said))
        return repository.repository(info)

    def archive(self, folder: str) -> Archive:
        """Return the WAL in the repository of one history of the database, which leads to its newest timeline.

        Raises:
            PgBackRestError: It cannot be read.
        """
        names = self._json("repo-ls", "--recurse", "--output=json", ARCHIVES)
        found, newest = repository.archive(folder, names), repository.newest_history(folder, names)
        if newest is None:
            return found
        if newest not in self._histories:
            raw = self.run("repo-get", IO_TIMEOUT, f"{ARCHIVES}/{newest}", seconds=READ_SECONDS)
            self._histories = {newest: raw.decode(errors="replace")}
        return repository.on_newest_timeline(found, newest, self._histories[newest])

    def fetch(self, wal: Archive, segment: str, target: Path) -> None:
        """Copy a WAL file out of the repository, decrypted and decompressed.

        Raises:
            PgBackRestError: It cannot be read.
            OSError: The target cannot be written.
        """
        name = wal.files[segment]
        raw = self.run("repo-get", IO_TIMEOUT, f"{ARCHIVES}/{name}", seconds=READ_SECONDS)
        program = DECOMPRESSORS.get(name.rpartition(".")[2] if "." in name else "")
        if program is None:
            target.write_bytes(raw)
            return
        done = subprocess.run([*program], input=raw, capture_output=True, timeout=READ_SECONDS, check=False)
        if done.returncode != 0:
            said = f"{name} cannot be decompressed: {done.stderr.decode(errors='replace').strip()}"
            raise PgBackRestError(problems.Problem(problems.Code.OTHER, said))
        target.write_bytes(done.stdout)

    def run(self, command: str, *arguments: str, seconds: float = WORK_SECONDS) -> bytes:
        """Run a command to its end and return what it printed.

        Raises:
            PgBackRestError: It failed, or took too long.
        """
        # The other side lets a client have this stanza only, also for commands that need none.
        options = [f"--config={self._config}", f"--stanza={STANZA}", *LOG_OPTIONS]
        line = ["pgbackrest", *options, command, *arguments]
        # A group of its own, so that an end reaches the processes that it begins.
        process = subprocess.Popen(
            line, env=dict(self._environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._running = process
        try:
            printed, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            text = f"no answer within {seconds:.0f} s: pgbackrest {command} was ended"
            raise PgBackRestError(problems.Problem(problems.Code.UNREACHABLE, text)) from error
        finally:
            self._running = None
        if process.returncode != 0:
            raise PgBackRestError(problems.problem(process.returncode, said.decode(errors="replace")))
        return printed

    def stop(self) -> None:
        """End the command that runs, as on the container's end: pgBackRest takes its backup up again later."""
        if (process := self._running) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    def _json(self, command: str, *arguments: str) -> Any:
        answer = self.run(command, IO_TIMEOUT, *arguments, seconds=READ_SECONDS)
        # What was decrypted with a wrong key may be in an error.
        return json.loads(answer.decode(errors="replace"), strict=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that takes too long, with the processes that it has begun."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=END_SECONDS)
            return


END_SECONDS = 5.0
"""Longest wait for the end of a command after SIGTERM; then it is killed."""

LOG_OPTIONS = ("--log-level-console=off", "--log-level-stderr=warn", "--log-level-file=off")
"""Standard output is a command's answer alone."""

DECOMPRESSORS: Mapping[str, Sequence[str]] = {"zst": ("zstd", "-dc"), "gz": ("gzip", "-dc")}
"""Programs by the ends of files' names."""
