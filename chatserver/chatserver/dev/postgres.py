"""A private PostgreSQL: made in a folder, run as a child of this process, and ended with it.

`chatserver dev` keeps its chat in one, and the tests of this project run on others (`tests/support/postgres.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from chatserver.dev.programs import EmbeddedPostgresError, choose_user, find_binaries, reachable, wheel_binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_SECONDS = 60
"""Seconds initdb or a start may take: a start after a crash replays the log first."""

STOP_SECONDS = 10
"""Seconds a shutdown may take before the processes are killed; nothing that was acknowledged is lost by it."""

POLL_SECONDS = 0.02
"""Seconds between looks at a starting PostgreSQL."""

REAP_SECONDS = 5
"""Seconds to wait for killed processes; they run no more, but whoever adopted them may be slow to take note."""

OLDEST_MAJOR: Final = 15
BUILTIN_LOCALE_MAJOR: Final = 17
"""The first major version with the builtin locale provider, which the cluster's PostgreSQL uses too."""

Shutdown = Literal["fast", "immediate"]
"""Fast: clients are disconnected, and everything is written. Immediate: a crash, from which the next start recovers."""

_SIGNALS: Final[Mapping[Shutdown, signal.Signals]] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
"""In what `postgres --version` prints: postgres (PostgreSQL) 17.5 (Debian 17.5-1)."""

_PR_SET_PDEATHSIG: Final = 1

_CONFIGURATION: Final = """
listen_addresses = ''
max_connections = 50
shared_buffers = 64MB
log_min_messages = warning
logging_collector = off
"""


@contextlib.contextmanager
def embedded_postgres(data: Path | None, binaries: Path | None = None) -> Iterator[str]:
    """Run a PostgreSQL for the block, and end it and all of its processes afterwards.

    Args:
        data: folder that keeps the database, made if need be; None: a temporary one, removed afterwards.
        binaries: folder with PostgreSQL's programs; None: found.

    Yields:
        The DSN. Only who may enter the temporary folder with the socket, this user and root, can connect.

    Raises:
        EmbeddedPostgresError: it cannot be made or started.
    """
    # Short, and of its own also when the data has a folder: a unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="chat-dev-"))
    try:
        postgres = PrivatePostgres(folder, binaries or find_binaries(wheel_binaries()), data=data)
        if not postgres.initialised:
            # What is removed at the end need not survive a power cut.
            durable = data is not None
            postgres.initialise(f"{_CONFIGURATION}fsync = {'on' if durable else 'off'}\n", sync=durable)
        try:
            postgres.start()
            yield f"postgresql://{postgres.superuser}@/postgres?host={folder}"
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PrivatePostgres:
    """One PostgreSQL, whose programs run as a user that it accepts.

    Args:
        folder: an empty one, for the socket, the log, and the data if they have no folder of their own.
        binaries: folder with PostgreSQL's programs.
        data: folder that keeps the database, made if need be; None: in `folder`.
        superuser: name of the role that may do everything.
        stop_seconds: that a shutdown may take before the processes are killed.

    Raises:
        EmbeddedPostgresError: the programs or the data cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        binaries: Path,
        *,
        data: Path | None = None,
        superuser: str = "chat",
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        if not (binaries / "initdb").is_file() or not (binaries / "postgres").is_file():
            raise EmbeddedPostgresError(f"{binaries} holds no initdb and postgres; name a folder that does.")
        self.folder = folder
        self.data = folder / "data" if data is None else data.resolve()
        self.log = folder / "postgres.log"
        self.superuser = superuser
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        # PostgreSQL refuses to run as root.
        self.user = choose_user(self.data) if os.geteuid() == 0 else None
        self._uid = None if self.user is None else self.user.pw_uid
        self._gid = None if self.user is None else self.user.pw_gid
        self._groups = None if self._gid is None else [self._gid]
        if data is not None:
            self._prepare_data()
        if self.user is not None:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
            binaries = reachable(binaries, folder)
        self.binaries = binaries
        self.major = self._check_version()

    def _prepare_data(self) -> None:
        try:
            if not self.data.exists():
                self.data.mkdir(parents=True, mode=0o700)
                if self.user is not None:
                    os.chown(self.data, self.user.pw_uid, self.user.pw_gid)
            if not self.initialised and any(self.data.iterdir()):
                raise EmbeddedPostgresError(f"{self.data} holds something else than a database; name an empty folder.")
        except OSError as error:
            raise EmbeddedPostgresError(f"{self.data} cannot be used: {error.strerror}.") from error

    def _check_version(self) -> int:
        text = self.run("postgres", "--version")
        matched = _VERSION.search(text)
        if matched is None:
            raise EmbeddedPostgresError(f"{self.binaries} holds no PostgreSQL: it says {text.strip()!r}.")
        major = int(matched[1])
        if major < OLDEST_MAJOR:
            raise EmbeddedPostgresError(
                f"PostgreSQL {major} in {self.binaries} is too old: {OLDEST_MAJOR} or later is needed."
            )
        made_by = self.data / "PG_VERSION"
        if made_by.exists() and made_by.read_text().strip() != str(major):
            raise EmbeddedPostgresError(
                f"{self.data} was made by PostgreSQL {made_by.read_text().strip()}, and {self.binaries} is {major}. "
                "Name that version's programs with --postgres, or an empty folder."
            )
        return major

    @property
    def initialised(self) -> bool:
        """Whether the data has been made."""
        return (self.data / "PG_VERSION").exists()

    @property
    def pid(self) -> int | None:
        """Id of the first of its processes, the parent of all others; None: it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def initialise(self, configuration: str, *, sync: bool) -> None:
        """Make the database's files.

        Args:
            configuration: lines of postgresql.conf.
            sync: whether they have to survive a power cut from now on.
        """
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        self.run(
            "initdb", "--pgdata", str(self.data), f"--username={self.superuser}", "--auth=trust", "--encoding=UTF8",
            "--data-checksums", *(builtin if self.major >= BUILTIN_LOCALE_MAJOR else ["--locale=C"]),
            *([] if sync else ["--no-sync"]),
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(configuration)

    def start(self) -> None:
        """Start the server, and wait until it takes connections.

        Started by the main thread it ends when this process does, however that happens.

        Raises:
            EmbeddedPostgresError: it ended at once, or takes too long.
        """
        # The kernel takes the end of the thread that started a process for the end of its parent.
        tied = threading.current_thread() is threading.main_thread()
        with self.log.open("ab") as log:
            already_logged = log.tell()
            process = self._spawn(
                ["postgres", "-D", str(self.data), "-k", str(self.folder)],
                output=log,
                preexec=_die_with_parent(os.getpid()) if tied else None,
            )
        self._process = process
        try:
            self._wait_ready(process, already_logged)
        except BaseException:
            self.stop()
            raise

    def _spawn(
        self, command: Sequence[str], *, output: IO[Any], preexec: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        program, *arguments = command
        return subprocess.Popen(  # noqa: S603 - a fixed program, no shell
            [str(self.binaries / program), *arguments],
            user=self._uid,
            group=self._gid,
            extra_groups=self._groups,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own process group, so that Ctrl-C reaches only the server, which needs the database to stop.
            start_new_session=True,
            preexec_fn=preexec,  # noqa: PLW1509 - takes no locks
        )

    def _wait_ready(self, process: subprocess.Popen[bytes], already_logged: int) -> None:
        # As pg_ctl does: the last line of its pid file says so.
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                lines = (self.data / "postmaster.pid").read_text().splitlines()
            except OSError:
                lines = []
            if lines and lines[0] == str(process.pid) and lines[-1].strip() == "ready":
                return
            time.sleep(POLL_SECONDS)
        text = self.log.read_bytes()[already_logged:].decode(errors="replace")
        if "already exists" in text and "lock file" in text:
            raise EmbeddedPostgresError(f"{self.data} is in use: another `chatserver dev` runs on it.")
        raise EmbeddedPostgresError(f"PostgreSQL did not start:\n{text[-2000:].strip()}")

    def stop(self, mode: Shutdown = "fast") -> None:
        """End the server and all of its processes, by force if it takes too long; nothing if it does not run."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(_SIGNALS[mode])
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._stop_seconds)
        _kill_session(self._process)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs to its end, and return what it printed.

        Raises:
            EmbeddedPostgresError: it cannot run, failed, or took more than START_SECONDS.
        """
        # Its output goes to a file: a pipe would be kept open by whatever the program leaves behind.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            try:
                process = self._spawn([program, *arguments], output=output)
            except OSError as error:
                raise EmbeddedPostgresError(f"{program} in {self.binaries} cannot run: {error.strerror}.") from error
            try:
                code = process.wait(START_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise EmbeddedPostgresError(f"{program} took longer than {START_SECONDS} s.") from error
            finally:
                _kill_session(process)
            output.seek(0)
            text = output.read()
        if code != 0:
            runs_as = f" (run as user {self.user.pw_name}: PostgreSQL refuses root)" if self.user else ""
            raise EmbeddedPostgresError(f"{program} failed{runs_as}:\n{text[-2000:].strip()}")
        return text


def _die_with_parent(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def stop_with_parent() -> None:
        # A fast shutdown if this process is killed and cannot stop PostgreSQL itself.
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return stop_with_parent


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a program that leads a session, and wait until the last of it has gone."""
    deadline = time.monotonic() + REAP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(POLL_SECONDS)
