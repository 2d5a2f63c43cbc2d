"""Run programs with a log and a time limit; find and end this project's own background processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A running process; pid and start time together never name another one."""

    pid: int
    start_ticks: int
    argv: tuple[str, ...]


def run(
    argv: Sequence[str | Path],
    *,
    log: Path,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: IO[bytes] | None = None,
    remedy: str = "",
) -> None:
    """Run a program to its end, its output appended to the log.

    Raises:
        LocalClusterError: it is not installed, failed, or took longer than the limit.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with log.open("ab") as output:
        output.write(f"$ {' '.join(words)}\n".encode())
        output.flush()
        before = output.tell()
        try:
            done = subprocess.run(
                words,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=stdin or subprocess.DEVNULL,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                timeout=timeout_seconds,
                check=False,
            )
        except FileNotFoundError as e:
            raise LocalClusterError(f"{words[0]} is not installed", remedy=remedy, log=log) from e
        except subprocess.TimeoutExpired as e:
            raise LocalClusterError(
                f"{_short(words)} took longer than {timeout_seconds:.0f} s", remedy=remedy, log=log
            ) from e
    if done.returncode != 0:
        raise LocalClusterError(
            f"{_short(words)} failed with exit code {done.returncode}: {_last_words(log, before)}",
            remedy=remedy,
            log=log,
        )


def pipe(
    producer: Sequence[str],
    consumer: Sequence[str],
    *,
    environments: tuple[Mapping[str, str], Mapping[str, str]],
    log: Path,
    timeout_seconds: float,
) -> None:
    """Run two programs, the output of one being the input of the other.

    Raises:
        LocalClusterError: one failed, or they took longer than the limit.
    """
    with log.open("ab") as output:
        output.write(f"$ {' '.join(producer)} | {' '.join(consumer)}\n".encode())
        output.flush()
        with subprocess.Popen(
            producer, stdout=subprocess.PIPE, stderr=output, stdin=subprocess.DEVNULL, env=dict(environments[0])
        ) as source:
            assert source.stdout is not None  # noqa: S101 -- it is a pipe, see above
            try:
                run(consumer, log=log, timeout_seconds=timeout_seconds, env=environments[1], stdin=source.stdout)
            except LocalClusterError:
                source.kill()
                raise
            source.stdout.close()
    if source.returncode != 0:
        raise LocalClusterError(f"{_short(producer)} failed with exit code {source.returncode}", log=log)


def output_of(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> str | None:
    """The standard output of a program, stripped; None if it is missing, failed or took too long.

    With a log, its standard error is appended there.
    """
    with contextlib.ExitStack() as stack:
        errors: int | BinaryIO = subprocess.DEVNULL
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            errors = stack.enter_context(log.open("ab"))
        try:
            done = subprocess.run(
                [str(word) for word in argv],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                timeout=timeout_seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def start_daemon(argv: Sequence[str | Path], *, log: Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Start a process in its own session, so that it outlives this one and its terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        subprocess.Popen(
            [str(word) for word in argv],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )


def find(*needle: str) -> list[Process]:
    """Processes whose arguments hold these words one after the other.

    The arguments name the cluster's state folder, so that this finds exactly our own, also after `make up` was killed
    before it could write anything down.
    """
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for pid in pids if (process := inspect(pid)) and contains(process.argv, needle)]


def find_by_environment(variable: str, value: str) -> list[Process]:
    """Processes, other than this one, that were started with this environment variable."""
    setting = f"{variable}={value}".encode()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if setting in environment and (process := inspect(int(entry.name))):
            found.append(process)
    return found


def inspect(pid: int) -> Process | None:
    """The process with this id; None if there is none, or only its zombie."""
    try:
        argv = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]
        fields = stat_fields((PROC / str(pid) / "stat").read_text())
    except (OSError, ValueError):
        return None
    if fields[0] in {"Z", "X"}:
        return None
    return Process(pid, int(fields[19]), tuple(word.decode(errors="replace") for word in argv))


def stat_fields(stat: str) -> list[str]:
    """The fields of /proc/PID/stat from the state (field 3) on; the name before may hold spaces and parentheses."""
    return stat.rpartition(")")[2].split()


def contains(argv: Sequence[str], needle: Sequence[str]) -> bool:
    """Whether the words of `needle` stand in `argv` one after the other."""
    width = len(needle)
    return any(tuple(argv[start : start + width]) == tuple(needle) for start in range(len(argv) - width + 1))


def end(processes: Sequence[Process], *, grace_seconds: float) -> None:
    """Signal the processes to stop, then kill those that did not.

    Raises:
        LocalClusterError: one is still there 10 s after SIGKILL.
    """
    _signal(processes, signal.SIGTERM)
    if not _wait_gone(processes, grace_seconds):
        _signal(processes, signal.SIGKILL)
        if not _wait_gone(processes, 10):
            left = ", ".join(str(process.pid) for process in processes if _alive(process))
            raise LocalClusterError(f"processes {left} do not end", remedy="look at them with `ps -fp PID`")


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        if _alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _alive(process: Process) -> bool:
    now = inspect(process.pid)
    return now is not None and now.start_ticks == process.start_ticks


def _wait_gone(processes: Sequence[Process], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(_alive(process) for process in processes):
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    return True


def _last_words(log: Path, offset: int) -> str:
    """The last line that a program wrote to its log, from this offset on."""
    with log.open("rb") as written:
        written.seek(offset)
        lines = written.read().decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")


def _short(words: Sequence[str]) -> str:
    return " ".join([Path(words[0]).name, *words[1:4]])
