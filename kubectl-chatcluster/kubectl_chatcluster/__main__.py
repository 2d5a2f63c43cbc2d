"""`kubectl chatcluster`: the command line. `parser()` has the commands."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kubectl_chatcluster import (
    backup,
    bundle,
    connections,
    drill,
    gather,
    journal,
    logs,
    restore,
    status,
    switchover,
    terminal,
)
from kubectl_chatcluster import drain as draining
from kubectl_chatcluster.archive import FILE_MODE, pack
from kubectl_chatcluster.errors import Misuse, PluginError
from kubectl_chatcluster.kubectl import find
from kubectl_chatcluster.names import OPERATOR, PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubectl_chatcluster.kubectl import Kubectl

FLAGS = ("namespace", "context", "cluster", "user", "kubeconfig", "as", "as-group", "as-uid", "server")
"""kubectl's own, passed on to it."""

DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
UNIT_SECONDS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}

NOT_READY, INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `kubectl-chatcluster`, which kubectl runs for `kubectl chatcluster`."""
    parsed = parser().parse_args(arguments)
    try:
        sys.exit(parsed.run(find(kubectl_flags(parsed)), parsed))
    except PluginError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # `| head` has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    passed = shared.add_argument_group("flags of kubectl, passed on to it")
    for flag in FLAGS:
        short = ("-n",) if flag == "namespace" else ()
        action = "append" if flag == "as-group" else "store"
        passed.add_argument(*short, f"--{flag}", dest=f"flag_{flag}", metavar=flag.upper(), action=action)
    made = argparse.ArgumentParser(prog="kubectl chatcluster", description="Inspect and operate ChatClusters.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=summary, parents=[shared], allow_abbrev=False)

    one = command(
        "status", "show what works, what does not, and why; the exit status is 1 if the ChatCluster is not Ready"
    )
    _add_name(one)
    one.add_argument("-o", "--output", choices=["text", "json"], default="text")
    one.set_defaults(run=_status)
    one = command("connections", "show the current number of connections of each chatserver")
    _add_name(one)
    one.add_argument("-o", "--output", choices=["text", "json"], default="text")
    one.set_defaults(run=_connections)
    one = command(
        "drain", "evict one chatserver, if the PodDisruptionBudget allows it, and wait until its clients have moved"
    )
    one.add_argument("server", metavar="SERVER", help="name of the pod of the chatserver")
    one.add_argument(
        "--timeout",
        type=_duration,
        metavar="90s",
        help="how long to wait; default: the grace period of the pod plus one minute",
    )
    one.set_defaults(run=_drain)
    _add_database_commands(command)
    one = command("logs", "print the logs of all pods, merged by time, newest last")
    _add_name(one)
    one.add_argument(
        "--component",
        choices=[*PARTS, OPERATOR],
        help="only the logs of this component",
    )
    one.add_argument("--since", type=_since, metavar="5m", help="only lines newer than this")
    one.add_argument(
        "--tail",
        type=int,
        default=1000,
        metavar="N",
        help="number of newest lines of each pod (%(default)s); -1 for all",
    )
    one.add_argument("-o", "--output", choices=["text", "raw"], default="text", help="raw prints the lines unchanged")
    one.set_defaults(run=_logs)
    one = command(
        "support-bundle", "write everything that helps to find a fault to one file, without secrets and phone numbers"
    )
    _add_name(one)
    one.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: chatcluster-NAMESPACE-NAME-TIME.tar.gz in the current folder",
    )
    one.set_defaults(run=_support_bundle)
    return made


def _add_database_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    one = command("switchover", "have another instance of the database lead, and wait until it does")
    _add_name(one)
    one.add_argument(
        "--to", type=int, choices=range(1, 6), metavar="N", help="number of the instance; default: the best"
    )
    one.add_argument("--timeout", type=_duration, default=60.0, metavar="60s", help="how long to wait")
    one.set_defaults(run=_switchover)
    one = command("backup", "have a backup of the database made now")
    _add_name(one)
    one.add_argument("--wait", action="store_true", help="wait until it has ended; the exit status is 1 if it failed")
    one.add_argument("--timeout", type=_duration, default=3600.0, metavar="1h", help="with --wait: how long")
    one.set_defaults(run=_backup)
    one = command(
        "restore",
        "return the database to an earlier state, in place, after a confirmation, and wait until it has ended",
    )
    _add_name(one)
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--to", type=_target, metavar="TIME", help="2026-11-30T10:15:00Z, or latest for all that is archived"
    )
    what.add_argument("--undo", action="store_true", help="return to the data that the last restore has replaced")
    one.add_argument("--yes", action="store_true", help="require no confirmation")
    one.add_argument("--timeout", type=_duration, default=3600.0, metavar="1h", help="how long to wait")
    one.set_defaults(run=_restore)
    one = command("drill", "have the newest backup restored as a test now")
    _add_name(one)
    one.add_argument("--wait", action="store_true", help="wait until it has ended; the exit status is 1 if it failed")
    one.add_argument("--timeout", type=_duration, default=14400.0, metavar="4h", help="with --wait: how long")
    one.set_defaults(run=_drill_restore)


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name", nargs="?", metavar="NAME", help="name of the ChatCluster; optional if the namespace has only one"
    )


def kubectl_flags(parsed: argparse.Namespace) -> list[str]:
    """The user's flags as kubectl takes them."""
    made = []
    for flag in FLAGS:
        given = getattr(parsed, f"flag_{flag}")
        made += [f"--{flag}={one}" for one in (given if isinstance(given, list) else [given]) if one is not None]
    return made


def _duration(text: str) -> float:
    if not DURATION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write it like 30s, 5m or 1h30m")
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", text)
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)


def _target(text: str) -> str:
    if text == restore.LATEST:
        return text
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time with its zone; write it like 2026-11-30T10:15:00Z, or latest"
        )
    return f"{time.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _since(text: str) -> str:
    _duration(text)
    return text


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _status(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    picture = gather.picture(kubectl, gather.chat(kubectl, parsed.name))
    _write(status.as_json(picture) if parsed.output == "json" else status.as_text(picture, _now()))
    return 0 if picture.chat.ready else NOT_READY


def _connections(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    picture = gather.picture(kubectl, gather.chat(kubectl, parsed.name))
    _write(connections.as_json(picture) if parsed.output == "json" else connections.as_text(picture, _now()))
    return 0


def _drain(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    draining.drain(kubectl, parsed.server, timeout_seconds=parsed.timeout, say=_say)
    return 0


def _switchover(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    body = gather.chat(kubectl, parsed.name)
    switchover.switch(kubectl, body, instance=parsed.to, timeout_seconds=parsed.timeout, now=_now(), say=_say)
    return 0


def _backup(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    body, timeout_seconds = gather.chat(kubectl, parsed.name), parsed.timeout if parsed.wait else None
    backup.back_up(kubectl, body, timeout_seconds=timeout_seconds, now=_now(), say=_say)
    return 0


def _restore(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    restore.restore(
        kubectl,
        gather.chat(kubectl, parsed.name),
        target=None if parsed.undo else parsed.to,
        confirmed=parsed.yes,
        timeout_seconds=parsed.timeout,
        now=_now(),
        say=_say,
        prompt=_prompt,
    )
    return 0


def _drill_restore(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    body, timeout_seconds = gather.chat(kubectl, parsed.name), parsed.timeout if parsed.wait else None
    drill.drill(kubectl, body, timeout_seconds=timeout_seconds, now=_now(), say=_say)
    return 0


def _logs(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    # The operator's logs can be read without any ChatCluster: that is when they are needed most.
    body = {} if parsed.component == OPERATOR and parsed.name is None else gather.chat(kubectl, parsed.name)
    sources, unseen = journal.sources(kubectl, body, parsed.component)
    options = [f"--tail={parsed.tail}", *([f"--since={parsed.since}"] if parsed.since else [])]
    read = journal.read(kubectl, sources, *options)
    for line in logs.merge([logs.split(log.printed, log.source.part, log.source.pod.name) for log in read]):
        _say(line.text if parsed.output == "raw" else logs.readable(line), raw=parsed.output == "raw")
    unseen += [f"{log.source.pod.name}: {log.error}" for log in read if log.error is not None]
    if not sources and not unseen:
        unseen.append(f"{parsed.component or 'this ChatCluster'} has no pods yet")
    for why in unseen:
        _complain(f"cannot show: {why}")
    return 1 if unseen and not any(log.printed for log in read) else 0


def _support_bundle(kubectl: Kubectl, parsed: argparse.Namespace) -> int:
    now, body = _now(), gather.chat(kubectl, parsed.name)
    folder = f"chatcluster-{body['metadata']['namespace']}-{body['metadata']['name']}-{now:%Y%m%dT%H%M%SZ}"
    path = parsed.output or Path(f"{folder}.tar.gz")
    if path.exists():
        raise Misuse(f"{path} already exists; choose another file with --output")
    files = bundle.collect(kubectl, body, now)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as out:
            out.write(pack(files, folder, now))
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}; choose another file with --output") from error
    _say(f"wrote {len(files)} files, without secrets, to {path}; missing.txt in it lists what could not be read")
    return 0


def _write(text: str) -> None:
    sys.stdout.write(terminal.page(text))
    sys.stdout.flush()


def _say(line: str, *, raw: bool = False) -> None:
    """One line; a raw one is kept as it is for a program or a file, but not for a terminal."""
    sys.stdout.write((line if raw and not sys.stdout.isatty() else terminal.line(line)) + "\n")
    sys.stdout.flush()


def _prompt(question: str) -> str:
    """Show a question on the terminal and return the answer; who cannot answer has not confirmed."""
    try:
        return input(terminal.line(question))
    except EOFError:
        return ""


def _complain(text: str) -> None:
    sys.stderr.write(terminal.page(f"kubectl chatcluster: {text}") + "\n")


if __name__ == "__main__":
    main()
